"""Seeds of every image (artifact `seeds`): surely object, surely background, or 255.

python jobs/make_seeds.py --config configs/demo.yaml [--retry-errors]
ray job submit --working-dir . -- python jobs/make_seeds.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

--retry-errors makes those of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check
from qaclims_ray.refine import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__, None, "--retry-errors")
    again = {"overwrite": arguments.overwrite, "retry_errors": arguments.retry_errors}
    tell(check(experiment, "seeds", overwrite=any(again.values())))
    print(stage.run(experiment, "seeds", **again))


if __name__ == "__main__":
    run_job(main)
