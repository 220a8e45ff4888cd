"""Scores of a CAM network while it trains: mIoU of its CAMs on a few images with ground truth.

The only module that knows both training's neighbours `cams` and `evaluate`; jobs hand `validation`
to `train.stage.run`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.metrics.confusion import best_threshold, sweep
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.predictor import CamPredictor
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names, names_to_score
from qaclims_ray.run.tables import look_up
from qaclims_ray.types import ImageRow

_COLUMNS = ("name", "image", "height", "width", "labels", "mask")


def validation(experiment: Experiment, fit: Fit) -> Callable[[CamNet], Mapping[str, float]]:
    """A function that scores a network in evaluation mode, at the best of all thresholds.

    Args:
        experiment: The run; CAMs and thresholds are those of its last stages.
        fit: Says how many images are scored: always the same, drawn by the run's seed.

    Raises:
        ValueError: there is no ground truth.
    """
    names = names_to_score(experiment)
    order = np.random.default_rng(experiment.train.seed).permutation(len(names))
    chosen = [names[position] for position in order[: fit.validate_images]]
    images = artifact(experiment, "images")
    rows: list[ImageRow] = look_up(images, chosen, _COLUMNS).to_pylist()
    num_classes = len(class_names(images))
    return lambda net: score(net, rows, num_classes, experiment)


def score(
    net: CamNet, rows: Sequence[ImageRow], num_classes: int, experiment: Experiment
) -> Mapping[str, float]:
    """The mIoU of the network's CAMs on some images, and the threshold that gives it.

    Args:
        net: In evaluation mode.
        rows: With ground truth.
        num_classes: Background excluded.
        experiment: The run, for scales and thresholds.
    """
    thresholds = experiment.evaluate.thresholds
    total = np.zeros((len(thresholds), num_classes + 1, num_classes + 1), np.int64)
    size = experiment.compute.cams.batch_size
    predictor = CamPredictor(net, **experiment.cams.fusion(), max_images=size)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        made = predictor.predict_rows(batch, experiment.data.max_pixels)
        for row, cams in zip(batch, made, strict=True):
            assert row["mask"] is not None
            truth = decode_mask(row["mask"])
            total += sweep(full_size(cams), cams["classes"], truth, thresholds, num_classes)
    threshold, miou = best_threshold(total, thresholds)
    return {"miou": miou, "threshold": threshold}
