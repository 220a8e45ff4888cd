"""CAMs of every image (artifact `cams`, or with --baseline `baseline_cams` of the classifier).

python jobs/make_cams.py --config configs/demo.yaml [--baseline | --clip] [--retry-errors]
ray job submit --working-dir . -- python jobs/make_cams.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--clip makes those of a frozen CLIP that RITC learns beside its texts (train.ritc.loss.clip_cams).
--retry-errors makes those CAMs of a complete artifact that failed, and no others.
"""

from qaclims_ray.cams import stage
from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--baseline", "--clip", "--retry-errors")
    baseline = "baseline_cams" if arguments.baseline else "cams"
    name = "clip_cams" if arguments.clip else baseline
    again = {"overwrite": arguments.overwrite, "retry_errors": arguments.retry_errors}
    tell(check(experiment, name, overwrite=any(again.values())))
    print(stage.run(experiment, name, **again))


if __name__ == "__main__":
    run_job(main)
