"""Train the boundary network (IRN) on the seeds (artifact `irn`).

qaclims train-irn --config demo
ray job submit --working-dir . -- python jobs/train_irn.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__), "irn")
