"""Train the segmenter on the pseudo masks (artifact `segmenter`).

qaclims train-segmenter --config demo
ray job submit --working-dir . -- python jobs/train_segmenter.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__), "segmenter")
