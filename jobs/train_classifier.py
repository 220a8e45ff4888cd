"""Train the multi-label classifier, whose CAMs are the baseline (artifact `classifier`).

Reads `images`. Interrupted, the same command goes on from the last checkpoint.

    python jobs/train_classifier.py --config configs/demo.yaml
    python jobs/train_classifier.py --config configs/demo.yaml train.classifier.validate_every=1
    ray job submit --working-dir . -- python jobs/train_classifier.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check
from qaclims_ray.train import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    tell(check(experiment, "classifier", overwrite=arguments.overwrite))
    print(stage.run(experiment, "classifier", overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
