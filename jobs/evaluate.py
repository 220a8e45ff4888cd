"""mIoU of CAMs at all thresholds (artifact `scores`, or with --baseline `baseline_scores`).

python jobs/evaluate.py --config configs/demo.yaml [--baseline]
ray job submit --working-dir . -- python jobs/evaluate.py --config configs/voc12.yaml run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job
from qaclims_ray.evaluate import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--baseline")
    print(stage.run(experiment, baseline=arguments.baseline, overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
