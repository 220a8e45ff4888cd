"""Counts of the label maps that the stage `refine` would write at each threshold that is tried.

Seeds are merged of two labellings, one at each of their thresholds. So a pass per threshold gives
the seeds of all pairs of thresholds, whatever refines them.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.transforms import NEAREST, resize
from qaclims_ray.metrics.confusion import Overlap, Truth, count, known, overlap
from qaclims_ray.refine.labelling import LabelMaps, Sweep, mask_sweep, picture, seed_sweep
from qaclims_ray.refine.stage import load_irn
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import look_up
from qaclims_ray.types import BACKGROUND, SCHEMAS


class SeedCounts(NamedTuple):
    """Pixels that the scores of seeds at all pairs of thresholds follow from."""

    labellings: Int[np.ndarray, "T K K"]
    """Confusion matrix of the labelling at each threshold."""
    background: Int[np.ndarray, "T T K"]
    """Pixels of each true class that the labellings at both thresholds call background."""


def count_seeds(
    experiment: Experiment, names: Sequence[str], thresholds: Sequence[float]
) -> SeedCounts:
    """Count the seeds that `refine.seeds` makes of some images at all pairs of thresholds.

    Args:
        experiment: The run, whose `cams` are complete.
        names: Images with ground truth, all in memory at a time.
        thresholds: Background scores, ascending.
    """
    num_classes = len(class_names(artifact(experiment, "images")))
    sweep = seed_sweep(experiment.refine.seeds, _device())
    counts = (
        SeedCounts(
            _confusions(label_maps, truth, num_classes),
            shared_background(label_maps, truth, num_classes),
        )
        for label_maps, truth in _swept(experiment, names, sweep, thresholds)
    )
    return reduce(add_up, counts)


def count_masks(
    experiment: Experiment, names: Sequence[str], thresholds: Sequence[float]
) -> Int[np.ndarray, "T K K"]:
    """Count the pseudo masks that `refine.masks` makes of some images: confusion matrices.

    Args:
        experiment: The run, whose `cams` are complete, and `irn` where the masks need it.
        names: Images with ground truth, all in memory at a time.
        thresholds: Background scores.
    """
    num_classes = len(class_names(artifact(experiment, "images")))
    masks, device = experiment.refine.masks, _device()
    net = load_irn(experiment, device) if masks.kind == "irn" else None
    counts = [
        _confusions(label_maps, truth, num_classes)
        for label_maps, truth in _swept(
            experiment, names, mask_sweep(masks, net, device), thresholds
        )
    ]
    return np.sum(counts, axis=0)


def add_up(one: SeedCounts, other: SeedCounts) -> SeedCounts:
    """Sum the counts of two parts of the images."""
    return SeedCounts(*map(np.add, one, other))


def shared_background(
    label_maps: UInt8[np.ndarray, "T H W"], truth: Truth, num_classes: int
) -> Int[np.ndarray, "T T K"]:
    """Count the pixels of each true class that two labellings both call background.

    Args:
        label_maps: Labellings of an image.
        truth: Its ground truth.
        num_classes: Background excluded.
    """
    kept, true = known(truth, label_maps.shape[1:], num_classes)
    background = (label_maps == BACKGROUND)[:, kept]
    counts = np.zeros((len(label_maps), len(label_maps), num_classes + 1), np.int64)
    for label in np.unique(true):
        # Products of floats take a hundredth of the time, and are exact up to 2^53 pixels.
        own = background[:, true == label].astype(np.float64)
        counts[..., label] = own @ own.T
    return counts


def seed_overlap(counts: SeedCounts) -> Overlap:
    """Find hits, predicted and true pixels among those that seeds decide.

    Returns:
        Arrays of T x T x K: foreground threshold, background threshold, class. As `merge_labels`
        has it, a pixel is an object where the labelling at the foreground threshold says so, and
        background where both do.
    """
    objects = counts.labellings.copy()
    objects[..., BACKGROUND] = 0
    num_thresholds = len(objects)
    pairs = Overlap(*(part[:, None].repeat(num_thresholds, 1) for part in overlap(objects)))
    pairs.hits[..., BACKGROUND] += counts.background[..., BACKGROUND]
    pairs.predicted[..., BACKGROUND] += counts.background.sum(-1)
    return pairs._replace(true=pairs.true + counts.background)


def _confusions(label_maps: LabelMaps, truth: Truth, num_classes: int) -> Int[np.ndarray, "T K K"]:
    return np.stack([count(label_map, truth, num_classes) for label_map in label_maps])


def _swept(
    experiment: Experiment, names: Sequence[str], sweep: Sweep, thresholds: Sequence[float]
) -> Iterator[tuple[LabelMaps, Truth]]:
    """Yield the label maps and the ground truth of each image."""
    cams = look_up(artifact(experiment, "cams"), names, SCHEMAS["cams"].names).to_pylist()
    found = look_up(artifact(experiment, "images"), names, ["name", "image", "mask"]).to_pylist()
    encoded = {row["name"]: row["image"] for row in found}
    masks = {row["name"]: row["mask"] for row in found}
    batches = picture(
        cams,
        encoded,
        max_pixels=experiment.data.max_pixels,
        max_images=experiment.compute.refine.batch_size,
    )
    for own, pictured in batches:
        for name, label_maps in zip(own, sweep(pictured, thresholds), strict=True):
            truth = decode_mask(masks[name])
            height, width = truth.shape
            full = [resize(label_map, height, width, NEAREST) for label_map in label_maps]
            yield np.stack(full), truth


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
