"""Label maps by the trained segmenter (artifact `predictions`); labels of the images are not used.

    python jobs/predict.py --config configs/demo.yaml [--retry-errors]
    ray job submit --working-dir . -- python jobs/predict.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors makes those of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check
from qaclims_ray.segment import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--retry-errors")
    again = {"overwrite": arguments.overwrite, "retry_errors": arguments.retry_errors}
    tell(check(experiment, "predictions", overwrite=any(again.values())))
    print(stage.run(experiment, "predictions", **again))


if __name__ == "__main__":
    run_job(main)
