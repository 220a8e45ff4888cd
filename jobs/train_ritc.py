"""Train the CAM network by region image-text contrast (artifact `cam_net`).

Reads `images`, `pairs`, `texts`, `classifier`.

    python jobs/train_ritc.py --config configs/demo.yaml
    ray job submit --working-dir . -- python jobs/train_ritc.py --config configs/voc12.yaml run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job
from qaclims_ray.train import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    print(stage.run(experiment, "cam_net", overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
