"""Predictions of images from anywhere, in a run of their own beside the one that was trained."""

import hashlib
import re

from qaclims_ray.config.data import Images
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.storage.paths import absolute


def predicting(experiment: Experiment, location: str) -> Experiment:
    """Return the run `<run>/predicted/<name>` whose new images are those at a location.

    Its name follows from the location, so that the same command goes on where it was interrupted.
    It takes the trained segmenter from the experiment's run.

    Args:
        experiment: The run with the artifact `segmenter`.
        location: See `config.data.Images`.
    """
    uri = absolute(location)
    label = re.sub(r"[^\w.-]+", "_", uri.partition("?")[0].rstrip("/").rpartition("/")[2])
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return experiment.model_copy(
        update={
            "run": f"{experiment.run}/predicted/{label[:80]}-{digest}",
            "base": (experiment.run, *experiment.base),
            # Shown to the segmenter as large as what it was trained on.
            "new_images": Images.model_validate(
                {"kind": "images", "location": uri, "max_side": experiment.data.max_side}
            ),
        }
    )
