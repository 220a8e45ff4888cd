"""Train the boundary network (IRN) on the seeds (artifact `irn`).

python jobs/train_irn.py --config configs/demo.yaml
ray job submit --working-dir . -- python jobs/train_irn.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check
from qaclims_ray.train import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    tell(check(experiment, "irn", overwrite=arguments.overwrite))
    print(stage.run(experiment, "irn", overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
