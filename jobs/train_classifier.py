"""Train the multi-label classifier, whose CAMs are the baseline. Reads `images`.

python jobs/train_classifier.py --config configs/demo.yaml
ray job submit --working-dir . -- python jobs/train_classifier.py --config configs/voc12.yaml run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job
from qaclims_ray.train import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    print(stage.run(experiment, "classifier", overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
