"""CAMs of every image (artifact `cams`, or with --baseline `baseline_cams` of the classifier).

python jobs/make_cams.py --config configs/demo.yaml [--baseline]
ray job submit --working-dir . -- python jobs/make_cams.py --config configs/voc12.yaml run=/shared/voc12
"""

from qaclims_ray.cams import stage
from qaclims_ray.cli import parse, run_job


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--baseline")
    print(stage.run(experiment, baseline=arguments.baseline, overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
