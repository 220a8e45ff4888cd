"""Label maps by the trained segmenter (artifact `predictions`); labels of the images are not used.

    qaclims predict --config demo [--retry-errors]
    qaclims predict --config demo --new
    qaclims predict --config demo --images photos
    ray job submit --working-dir . -- python jobs/predict.py --config configs/voc12.yaml data.root=/shared/VOC2012 run=/shared/voc12

Predicts the images of the data set. --new predicts those of `new_images` instead. --images predicts
images from anywhere: a folder, a .tar, a .txt with one path or URL per line, or an image; the result
lies in a run of its own below <run>/predicted.
--retry-errors makes those of a complete artifact that failed, and no others.
"""

from qaclims_ray.cli import parse
from qaclims_ray.jobs.make import make


def main() -> None:
    """Run the job."""
    images = {"default": "", "metavar": "LOCATION", "help": "images from anywhere"}
    experiment, arguments = parse(__doc__, None, "--retry-errors", "--new", images=images)
    from qaclims_ray.segment.elsewhere import predicting

    if arguments.images:
        experiment = predicting(experiment, arguments.images)
    is_new = arguments.new or arguments.images
    make(experiment, arguments, *(["new_images", "new_predictions"] if is_new else ["predictions"]))
