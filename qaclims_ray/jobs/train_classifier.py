"""Train the multi-label classifier, whose CAMs are the baseline (artifact `classifier`).

Reads `images`. Interrupted, the same command goes on from the last checkpoint.

    qaclims train-classifier --config demo
    qaclims train-classifier --config demo train.classifier.validate_every=1
    ray job submit --working-dir . -- python jobs/train_classifier.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    make(*parse(__doc__), "classifier")
