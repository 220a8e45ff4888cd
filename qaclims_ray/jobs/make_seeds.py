"""Seeds of every image (artifact `seeds`): surely object, surely background, or 255.

qaclims seeds --config demo [--retry-errors]
ray job submit --working-dir . -- python jobs/make_seeds.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors makes those of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__, None, "--retry-errors"), "seeds")
