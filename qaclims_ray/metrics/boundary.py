"""Boundary IoU (Cheng et al., CVPR 2021), at all thresholds in one pass.

Of a class's true region G and predicted region P only the bands along their boundaries count: the
pixels of G, and those of P, no more than d pixels from the outside of their own region.

    boundary IoU = |G_band & P_band| / |G_band | P_band|

As published, d is 2 % of the image's diagonal, rounded, at least 1; distance is that of the chess
king (d erosions by a 3 x 3 square); and beyond the edge of the image lies outside. Pixels are
summed over images before the division, as for mIoU. Ours is the rule for pixels whose truth is 255:
they belong to neither region, so that a perfect prediction scores 1 however wide they are.

Erosion keeps order: the eroded region of all pixels above a threshold is where the *eroded levels*
are above it. So one erosion of the levels gives the bands at all thresholds.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Integer, Shaped

from qaclims_ray.metrics.confusion import Levels, Overlap, Truth, above
from qaclims_ray.types import BACKGROUND

DISTANCE = 0.02
"""Width of the bands as a share of the image's diagonal."""


def boundary_overlap(
    winner: Int[np.ndarray, "H W"],
    level: Levels,
    truth: Truth,
    num_thresholds: int,
    classes: Sequence[int],
) -> Overlap:
    """Pixels of the bands of some classes, at all thresholds.

    Args:
        winner: Class index + 1 of the largest CAM, see `confusion.levels`.
        level: Of that CAM.
        truth: Label map of the same size; what is not among `classes` is in no region.
        num_thresholds: Number of levels above 0.
        classes: Values of label maps, `BACKGROUND` or class index + 1.

    Returns:
        Hits and predicted pixels, one row per threshold; true pixels, one row; one column per
        class.
    """
    distance = band_width(*truth.shape)
    known = np.isin(truth, classes)
    parts: list[tuple[Int[np.ndarray, "T"], Int[np.ndarray, "T"], int]] = []
    for value in classes:
        own = level if value != BACKGROUND else num_thresholds - level
        inside = known & (winner == value) if value != BACKGROUND else known
        predicted = np.where(inside, own, 0).astype(np.int16)
        region = truth == value
        band = region & ~erode(region, distance)
        hits, found = _bands(predicted, erode(predicted, distance), band, num_thresholds)
        # The background is where levels are at most j, hence its own levels above T - 1 - j.
        order = slice(None, None, -1 if value == BACKGROUND else 1)
        parts.append((hits[order], found[order], int(band.sum())))
    hits, found, true = zip(*parts, strict=True)
    return Overlap(np.stack(hits, axis=-1), np.stack(found, axis=-1), np.array([true]))


def band_width(height: int, width: int) -> int:
    """Width of the bands of an image, in pixels."""
    return max(1, round(DISTANCE * float(np.hypot(height, width))))


def erode(values: Shaped[np.ndarray, "H W"], distance: int) -> Shaped[np.ndarray, "H W"]:
    """The least value within `distance` rows and columns; 0 (False) beyond the edges."""
    for axis in (0, 1):
        values = _running_minimum(values, distance, axis)
    return values


def _bands(
    level: Integer[np.ndarray, "H W"],
    eroded: Integer[np.ndarray, "H W"],
    band: Shaped[np.ndarray, "H W"],
    num_thresholds: int,
) -> tuple[Int[np.ndarray, "T"], Int[np.ndarray, "T"]]:
    """Pixels of the predicted band at each threshold: those of them in `band`, and all."""

    def pixels(values: Integer[np.ndarray, "..."]) -> Int[np.ndarray, "T"]:
        return above(np.bincount(values.ravel(), minlength=num_thresholds + 1))

    return pixels(level[band]) - pixels(eroded[band]), pixels(level) - pixels(eroded)


def _running_minimum(
    values: Shaped[np.ndarray, "H W"], distance: int, axis: int
) -> Shaped[np.ndarray, "H W"]:
    """Least value of each window of 2 d + 1 along an axis, by windows of doubled length."""
    window, length = 2 * distance + 1, values.shape[axis]
    padding = [(distance, distance) if i == axis else (0, 0) for i in (0, 1)]
    least = np.moveaxis(np.pad(values, padding), axis, 0)
    size = 1
    while 2 * size <= window:
        least = np.minimum(least[:-size], least[size:])
        size *= 2
    rest = window - size
    return np.moveaxis(np.minimum(least[:length], least[rest : rest + length]), 0, axis)
