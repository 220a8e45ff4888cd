"""The segmenter: the final network, which learns from pseudo masks and needs no labels."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qaclims_ray.config.experiment import PACKAGE, Experiment, resolve
from qaclims_ray.config.train import Segmenter as Settings
from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.images.transforms import NEAREST, normalise, resize
from qaclims_ray.metrics.confusion import count, mean_iou
from qaclims_ray.model.segmenter import Segmenter, build_segmenter
from qaclims_ray.model.segmenter_predict import predict_probabilities
from qaclims_ray.model.segmenter_training import parameter_groups, segmentation_loss
from qaclims_ray.model.shapes import Images
from qaclims_ray.model.supervision import Supervision, pixel_supervision
from qaclims_ray.run.manifest import Facts, Supervised
from qaclims_ray.train.batches import Batch, TrainingImages
from qaclims_ray.train.label_maps import label_map_rows
from qaclims_ray.train.optim import ParameterGroup
from qaclims_ray.train.rows import Rows
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.train.targets import LabelMapTargets
from qaclims_ray.train.task import Task
from qaclims_ray.train.validation import SCORE, Scorer, rows_to_score

log = logging.getLogger(__name__)


def rows(experiment: Experiment) -> Rows:
    """Find the images that have a pseudo mask.

    Raises:
        ValueError: the weights to start from were trained with pixel masks, which is not allowed;
            the masks have nothing to learn from.
    """
    check_supervision(experiment.train.segmenter)
    return label_map_rows(experiment, "masks")


def check_supervision(settings: Settings) -> None:
    """Check that the weights to start from were not trained with pixel masks, unless that is meant.

    Raises:
        ValueError: they were, and `pixel_supervised_weights` is false.
    """
    found = _supervision(settings)
    if found.pixels and not settings.pixel_supervised_weights:
        raise ValueError(
            f"train.segmenter.weights: {settings.weights!r} were trained with pixel masks "
            f"({found.reason}), so that a score would not be one of weak supervision: choose "
            "ImageNet weights, or set train.segmenter.pixel_supervised_weights=true"
        )
    if found.pixels is None:
        log.warning(
            "train.segmenter: whether pixel masks trained the weights is unknown: %s", found.reason
        )


def facts(experiment: Experiment) -> Facts:
    """State for scores what the weights to start from were trained with."""
    found = _supervision(experiment.train.segmenter)
    return Facts(weights=Supervised(pixel_masks=found.pixels, reason=found.reason))


def build(settings: Settings, num_classes: int) -> Segmenter:
    """Build the network of a configuration for so many classes, with the weights it starts from."""
    return build_segmenter(located(settings.net), num_classes + 1, weights=_weights(settings))


class SegmenterTask(Task[Segmenter]):
    """Trains a segmentation network by the cross entropy with pseudo masks."""

    def __init__(self, experiment: Experiment, data: TrainingSet, device: torch.device) -> None:
        self._experiment = experiment
        self._settings = experiment.train.segmenter
        self._data = data
        self.ema_decay = self._settings.ema_decay

    def network(self) -> Segmenter:
        """Build the network."""
        return build(self._settings, len(self._data.class_names))

    def parts(self, net: Segmenter) -> Sequence[nn.Module]:
        """Return the encoder and the layers beside it."""
        return [net.encoder]

    def parameter_groups(self, net: Segmenter) -> Sequence[ParameterGroup]:
        """Group the parameters by their multiples of the rate, and by whether they decay."""
        optimiser = self._settings.optimiser
        groups = parameter_groups(
            net,
            learning_rate=1.0,
            head_lr_multiplier=optimiser.head_lr_multiplier,
            bias_lr_multiplier=self._settings.bias_lr_multiplier,
            weight_decay=optimiser.weight_decay,
        )
        return [ParameterGroup(one["params"], one["lr"], one["weight_decay"]) for one in groups]

    def dataset(self) -> TrainingImages:
        """Return the images with their pseudo masks."""
        return TrainingImages(
            self._data,
            LabelMapTargets(self._experiment.data.max_side),
            self._settings.augment,
            seed=self._experiment.train.seed,
            max_pixels=self._experiment.data.max_pixels,
        )

    def loss(self, output: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the cross entropy and its two halves."""
        return segmentation_loss(output, batch.targets, balance=self._settings.balance)._asdict()

    def scorer(self) -> Scorer[Segmenter]:
        """Score predictions of images that have ground truth: their mIoU."""
        rows = rows_to_score(self._experiment, self._settings, of_cams=False)
        num_classes = len(self._data.class_names)
        max_pixels = self._experiment.data.max_pixels

        def score(net: Segmenter) -> Mapping[str, float]:
            """Return the mIoU of the network on the rows."""
            device = next(net.parameters()).device
            total = np.zeros((num_classes + 1, num_classes + 1), np.int64)
            for row in rows:
                assert row["mask"] is not None
                pixels = normalise(decode(row["image"], max_pixels=max_pixels))
                images: Images = torch.from_numpy(pixels)[None].to(device)
                predicted = predict_probabilities(net, images, flip=False).argmax(1)[0]
                truth = decode_mask(row["mask"])
                height, width = truth.shape
                label_map = resize(predicted.byte().cpu().numpy(), height, width, NEAREST)
                total += count(label_map, truth, num_classes)
            return {SCORE: float(mean_iou(total))}

        return score


def located(net: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the name, folder or configuration of a network; `package:` becomes a path."""
    return resolve(net) if isinstance(net, str) else net


def _supervision(settings: Settings) -> Supervision:
    if settings.weights is not None and settings.weights.startswith(PACKAGE):
        reason = "the weights that come with this package were trained with image labels"
        return Supervision(pixels=False, reason=reason)
    return pixel_supervision(located(settings.net), _weights(settings))


def _weights(settings: Settings) -> str | None:
    return None if settings.weights is None else resolve(settings.weights)
