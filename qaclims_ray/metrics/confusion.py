"""Confusion counts of label maps, of all thresholds in one pass, and the scores made of them.

Counts are summed over images and workers; every score divides once, at the end. A confusion matrix
has one row per true class and one column per predicted class, background first.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Num
from numpy.typing import ArrayLike

from qaclims_ray.types import BACKGROUND, IGNORE

_SIGNED_IGNORE = -1

Confusion = Int[np.ndarray, "*T K K"]
Levels = Int[np.ndarray, "H W"]
"""How many of the thresholds, in ascending order, lie below the largest CAM of each pixel."""
Truth = Integer[np.ndarray, "_ _"]
"""A label map of any integer type; 255 (or -1, its signed spelling) is ignored.

Its size is checked against the prediction's: files may disagree."""


class Overlap(NamedTuple):
    """All that scores of single classes need of a confusion matrix: pixels, or sums of them."""

    hits: Num[np.ndarray, "*T K"]
    """Predicted as the class, and truly of it."""
    predicted: Num[np.ndarray, "*T K"]
    true: Num[np.ndarray, "*#T K"]


Counts = Confusion | Overlap
"""What scores are made of."""
Absent = Literal["zero", "skip"]
"""How a class that is predicted but never true enters mIoU: with an IoU of 0, or not at all."""


def count(
    prediction: Integer[np.ndarray, "H W"], truth: Truth, num_classes: int
) -> Int[np.ndarray, "K K"]:
    """Pixels per (true, predicted) class; `num_classes` excludes the background.

    Pixels whose truth is 255 count nowhere; a predicted 255 counts as background (published
    `eval_sem_seg`). Raises ValueError for maps of unlike size and for values out of range.
    """
    kept, true = known(truth, prediction.shape, num_classes)
    predicted = np.where(prediction == IGNORE, BACKGROUND, prediction)[kept].astype(np.int64)
    check_values("prediction", predicted, num_classes)
    size = num_classes + 1
    pairs = true * size + predicted
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def sweep(
    cams: Float[np.ndarray, "N H W"],
    classes: Sequence[int],
    truth: Truth,
    thresholds: Sequence[float] | Float[np.ndarray, "T"],
    num_classes: int,
) -> Int[np.ndarray, "T K K"]:
    """Confusion matrices of the predictions at all thresholds, in one pass over the pixels.

    The prediction at threshold t is argmax over [t, cams]: class index + 1 of the largest CAM where
    it exceeds t, else background, which also wins ties; of equal CAMs the first wins. `cams` are
    normalised to [0, 1], one per entry of `classes` (class indices). Thresholds may come in any
    order; they are rounded to the type of the CAMs, as in the published code. Pixels are counted by
    (true class, class of the largest CAM, number of thresholds below it); sums over the last axis
    are the matrices. An image without classes is all background.

    Raises ValueError as `count` does.
    """
    order = np.argsort(np.asarray(thresholds, dtype=cams.dtype))
    winner, level = levels(cams, classes, np.asarray(thresholds)[order])
    result = np.empty((len(order), num_classes + 1, num_classes + 1), np.int64)
    result[order] = count_levels(winner, level, truth, len(order), num_classes)
    return result


def levels(
    cams: Float[np.ndarray, "N H W"],
    classes: Sequence[int],
    thresholds: Sequence[float] | Float[np.ndarray, "T"],
) -> tuple[Int[np.ndarray, "H W"], Levels]:
    """What the predictions at all ascending thresholds follow from, as `sweep` defines them.

    Returns:
        Class index + 1 of the largest CAM, and its level: at the threshold of rank j the class is
        predicted where its level is above j, and the background elsewhere. Without CAMs the level
        is 0.
    """
    winner = np.full(cams.shape[1:], BACKGROUND, dtype=np.int64)
    value = np.full(cams.shape[1:], -np.inf, dtype=cams.dtype)
    for cam, index in zip(cams, classes, strict=True):
        winner[cam > value] = index + 1
        value = np.maximum(value, cam)
    return winner, np.searchsorted(np.asarray(thresholds, dtype=cams.dtype), value)


def count_levels(
    winner: Int[np.ndarray, "H W"],
    level: Levels,
    truth: Truth,
    num_thresholds: int,
    num_classes: int,
) -> Int[np.ndarray, "T K K"]:
    """Confusion matrices at all thresholds of what `levels` gives; errors as `count`."""
    size = num_classes + 1
    kept, true = known(truth, winner.shape, num_classes)
    predicted = winner[kept]
    check_values("class of a CAM", predicted, num_classes)
    bins = (true * size + predicted) * (num_thresholds + 1) + level[kept]
    counts = np.bincount(bins, minlength=size * size * (num_thresholds + 1))
    counts = counts.reshape(size, size, -1)
    result = np.moveaxis(above(counts), -1, 0).copy()
    result[..., BACKGROUND] = counts.sum((1, 2)) - result[..., 1:].sum(-1)
    return result


def above(histogram: Int[np.ndarray, "*n bins"]) -> Int[np.ndarray, "*n T"]:
    """Pixels whose level is above 0, 1, …: sums over the bins of a histogram of levels."""
    return histogram[..., ::-1].cumsum(-1)[..., -2::-1]


def overlap(counts: Confusion | Overlap) -> Overlap:
    """Hits, predicted and true pixels of each class; an overlap is one already."""
    if isinstance(counts, Overlap):
        return counts
    return Overlap(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-2), counts.sum(-1))


def iou(counts: Counts) -> Float[np.ndarray, "*T K"]:
    """Intersection over union per class, in [0, 1].

    nan for a class that is neither true nor predicted anywhere; 0 for one predicted but never true.
    """
    hits, predicted, true = overlap(counts)
    return _ratio(hits, true + predicted - hits)


def mean_iou(counts: Counts, absent: Absent = "zero") -> Float[np.ndarray, "*T"]:
    """Mean of `iou` over the classes (background included) that it is defined for.

    `absent: skip` leaves out classes that are predicted but never true, as some papers do.
    """
    scores = iou(counts)
    return mean(np.where(overlap(counts).true > 0, scores, np.nan) if absent == "skip" else scores)


def mean(scores: Float[np.ndarray, "*T K"]) -> Float[np.ndarray, "*T"]:
    """Mean over the classes that a score is defined for; nan where there is none."""
    return _ratio(np.nansum(scores, axis=-1), np.isfinite(scores).sum(-1))


def precision(counts: Counts) -> Float[np.ndarray, "*T K"]:
    """Share of the pixels predicted as a class that are truly of it; nan where none is."""
    hits, predicted, _ = overlap(counts)
    return _ratio(hits, predicted)


def recall(counts: Counts) -> Float[np.ndarray, "*T K"]:
    """Share of the pixels truly of a class that are predicted as such; nan where none is."""
    hits, _, true = overlap(counts)
    return _ratio(hits, true)


def false_positives(counts: Counts) -> Float[np.ndarray, "*T K"]:
    """Wrongly predicted pixels of a class as a share of its union (over-activation).

    With `iou` and `false_negatives` it sums to 1 (published `eval_sem_seg`).
    """
    hits, predicted, true = overlap(counts)
    return _ratio(predicted - hits, true + predicted - hits)


def false_negatives(counts: Counts) -> Float[np.ndarray, "*T K"]:
    """Missed pixels of a class as a share of its union (under-activation)."""
    hits, predicted, true = overlap(counts)
    return _ratio(true - hits, true + predicted - hits)


def false_foreground(counts: Counts) -> Float[np.ndarray, "*T"]:
    """Share of the pixels predicted as any class that are truly background, in [0, 1]."""
    hits, predicted, true = overlap(counts)
    return _ratio((true - hits)[..., BACKGROUND], predicted[..., 1:].sum(-1))


def best_threshold(
    confusion: Int[np.ndarray, "T K K"],
    thresholds: Sequence[float] | Float[np.ndarray, "T"],
    absent: Absent = "zero",
) -> tuple[float, float]:
    """The threshold of the highest mIoU of all, and that mIoU; the first of equal ones.

    The published sweep stops at the first threshold that does not improve, which may be far off.
    """
    scores = mean_iou(confusion, absent)
    best = int(np.nanargmax(scores))
    return float(thresholds[best]), float(scores[best])


def _ratio(part: ArrayLike, whole: ArrayLike) -> Float[np.ndarray, "..."]:
    """Quotient; nan where there is nothing of nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.true_divide(part, whole))


def known(
    truth: Truth, shape: tuple[int, ...], num_classes: int
) -> tuple[Bool[np.ndarray, "_ _"], Int[np.ndarray, "pixels"]]:
    """Where the truth is no 255, and its values there."""
    if truth.shape != shape:
        raise ValueError(
            f"ground truth of {truth.shape} pixels for a prediction of {shape}: both must have the "
            "size of the image"
        )
    kept = (truth != IGNORE) & (truth != _SIGNED_IGNORE)
    true = truth[kept].astype(np.int64)
    check_values("ground truth", true, num_classes)
    return kept, true


def check_values(what: str, values: Int[np.ndarray, "pixels"], num_classes: int) -> None:
    """Raise ValueError where `values` hold others than 0 to `num_classes`; `what` names them."""
    wrong = np.unique(values[(values < BACKGROUND) | (values > num_classes)])
    if wrong.size:
        raise ValueError(
            f"{what} holds {wrong[:5].tolist()}; legal are 0 (background) to {num_classes} (class "
            f"index + 1) and {IGNORE} (ignore): check the number of classes and the palette"
        )
