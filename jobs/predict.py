"""Label maps by the trained segmenter (artifact `predictions`); labels of the images are not used.

    python jobs/predict.py --config configs/demo.yaml [--retry-errors]
    python jobs/predict.py --config configs/demo.yaml --new
    python jobs/predict.py --config configs/demo.yaml --images photos
    ray job submit --working-dir . -- python jobs/predict.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

Predicts the images of the data set. --new predicts those of `new_images` instead. --images predicts
images from anywhere: a folder, a .tar, a .txt with one path or URL per line, or an image; the result
lies in a run of its own below <run>/predicted.
--retry-errors makes those of a complete artifact that failed, and no others.
"""

from importlib import import_module

from qaclims_ray.cli import parse, run_job, tell
from qaclims_ray.preflight.check import check
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.segment.elsewhere import predicting


def main() -> None:
    """Run the job."""
    images = {"default": "", "metavar": "LOCATION", "help": "images from anywhere"}
    experiment, arguments = parse(__doc__, None, "--retry-errors", "--new", images=images)
    if arguments.images:
        experiment = predicting(experiment, arguments.images)
    is_new = arguments.new or arguments.images
    names = ["new_images", "new_predictions"] if is_new else ["predictions"]
    again = {"overwrite": arguments.overwrite, "retry_errors": arguments.retry_errors}
    tell(check(experiment, *names, overwrite=any(again.values())))
    for name in names:
        stage = import_module(f"qaclims_ray.{ARTIFACTS[name].stage}")
        print(stage.run(experiment, name, **again))


if __name__ == "__main__":
    run_job(main)
