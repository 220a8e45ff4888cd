"""Counts of one image at all thresholds, for the classes that it holds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from qaclims_ray.metrics.boundary import boundary_overlap
from qaclims_ray.metrics.confusion import (
    Levels,
    Overlap,
    check_values,
    count_levels,
    known,
    overlap,
)
from qaclims_ray.types import BACKGROUND, IGNORE


class Tally(NamedTuple):
    """What one image adds to every score; `k` of all classes are true or predicted in it."""

    classes: Int[np.ndarray, "k"]
    """Values of label maps, ascending, the background first."""
    areas: Int[np.ndarray, "T k k"]
    """Confusion matrices."""
    boundaries: Overlap
    """Overlap of the bands along boundaries."""


def tally(
    winner: Int[np.ndarray, "H W"],
    level: Levels,
    truth: UInt8[np.ndarray, "_ _"],
    num_thresholds: int,
    num_classes: int,
) -> Tally:
    """Counts of the predictions that `confusion.levels` describes; errors as `confusion.count`."""
    kept, true = known(truth, winner.shape, num_classes)
    check_values("prediction", winner[kept], num_classes)
    pixels = np.bincount(winner[kept], minlength=num_classes + 1)
    pixels += np.bincount(true, minlength=len(pixels))
    pixels[BACKGROUND] = 1
    classes = np.flatnonzero(pixels)
    place = np.full(IGNORE + 1, IGNORE)
    place[classes] = np.arange(len(classes))
    return Tally(
        classes,
        count_levels(place[winner], level, place[truth], num_thresholds, len(classes) - 1),
        boundary_overlap(winner, level, truth, num_thresholds, classes.tolist()),
    )


def dense(tally: Tally, num_classes: int, ranks: Sequence[int]) -> Int[np.ndarray, "ranks 2 3 K"]:
    """Hits, predicted and true pixels at some thresholds: of areas, then of boundaries."""
    result = np.zeros((len(ranks), 2, 3, num_classes + 1), np.int64)
    for kind, counts in enumerate((overlap(tally.areas), tally.boundaries)):
        for part, values in enumerate(counts):
            everywhere = np.broadcast_to(values, counts.hits.shape)
            result[:, kind, part, tally.classes] = everywhere[list(ranks)]
    return result
