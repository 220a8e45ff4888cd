"""Train the segmenter on the pseudo masks (artifact `segmenter`).

python jobs/train_segmenter.py --config configs/demo.yaml
ray job submit --working-dir . -- python jobs/train_segmenter.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12
"""

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check
from qaclims_ray.train import stage


def main() -> None:
    """Run the job."""
    experiment, arguments = parse(__doc__)
    tell(check(experiment, "segmenter", overwrite=arguments.overwrite))
    print(stage.run(experiment, "segmenter", overwrite=arguments.overwrite))


if __name__ == "__main__":
    run_job(main)
