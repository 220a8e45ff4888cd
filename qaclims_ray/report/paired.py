"""Compare the scores of runs image by image: only what the same pixels say of each counts.

Differences between runs are far less uncertain than the scores themselves, as an image that is hard
for one is hard for the other: each replicate of the bootstrap takes the same images of all runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge, nlargest
from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from qaclims_ray.evaluate.rows import Tally, dense
from qaclims_ray.metrics.bootstrap import interval, resample
from qaclims_ray.metrics.confusion import Absent, Overlap, iou, mean_iou

NUM_APART = 12
_BATCH = 256
_TRUE = 2
"""Where counts have the true pixels, after hits and predicted ones."""


class Apart(NamedTuple):
    """An image of which runs differ."""

    spread: float
    """The highest less the lowest IoU, each the mean over the classes of the image."""
    name: str
    ious: tuple[float, ...]
    """Mean IoU of the image in each run."""


class Paired(NamedTuple):
    """Scores of S runs on the same images, at some thresholds of each; the first is the measure."""

    num_images: int
    num_other_truth: int
    """Images left out, as their ground truth is not the same in all runs."""
    miou: Float[np.ndarray, "S ranks"]
    difference: Float[np.ndarray, "S ranks"]
    """mIoU less that of the first run."""
    bounds: Float[np.ndarray, "2 S ranks"]
    """95 % interval of the difference, over images."""
    iou: Float[np.ndarray, "S K"]
    """IoU of each class at the first threshold of each run."""
    iou_bounds: Float[np.ndarray, "2 S K"]
    """95 % interval of the difference to the first run."""
    apart: list[Apart]
    """Images that differ most, the most first."""


def joint(sides: Sequence[Iterable[tuple[str, Tally]]]) -> Iterator[tuple[str, list[Tally]]]:
    """Go through the images that all runs have scored.

    Args:
        sides: Names and counts of the images of each run, sorted by name.
    """
    rows = groupby(merge(*sides, key=itemgetter(0)), itemgetter(0))
    for name, found in rows:
        tallies = [tally for _, tally in found]
        if len(tallies) == len(sides):
            yield name, tallies


def compare(
    sides: Sequence[Iterable[tuple[str, Tally]]],
    ranks: Sequence[Sequence[int]],
    num_classes: int,
    absent: Absent,
) -> Paired | None:
    """Compare runs on the images that all of them have scored, a few of which are in memory.

    Args:
        sides: Names and counts of the images of each run, sorted by name; gone through once.
        ranks: Ranks of the thresholds of each run, as many of each.
        num_classes: Background excluded.
        absent: How a class that is predicted but never true enters mIoU.

    Returns:
        None where no image of the same ground truth was scored in all runs.
    """
    shape = (len(sides), len(ranks[0]), 3, num_classes + 1)
    total, numbers = np.zeros(shape, np.int64), [0, 0]
    apart: list[Apart] = []

    def rows() -> Iterator[Int[np.ndarray, "S ranks 3 K"]]:
        """Counts of each image, by run; numbers and worst images are noted on the way."""
        for name, tallies in joint(sides):
            pairs = zip(tallies, ranks, strict=True)
            counts = np.stack([dense(one, num_classes, own)[:, 0] for one, own in pairs])
            has_other_truth = bool((counts[:, :, _TRUE] != counts[0, 0, _TRUE]).any())
            numbers[has_other_truth] += 1
            if not has_other_truth:
                apart[:] = nlargest(NUM_APART, [*apart, _apart(name, counts, absent)])
                total[:] += counts
                yield counts

    def batches() -> Iterator[Int[np.ndarray, "B V"]]:
        yield np.zeros((0, total.size), np.int64)  # so that no image is no error
        remaining = rows()
        while batch := list(islice(remaining, _BATCH)):
            yield np.stack(batch).reshape(len(batch), -1)

    samples = resample(batches())
    samples = samples.reshape(-1, *shape)
    return _paired(total, samples, numbers, apart, absent) if numbers[0] else None


def _paired(
    total: Int[np.ndarray, "S ranks 3 K"],
    samples: Float[np.ndarray, "R S ranks 3 K"],
    numbers: Sequence[int],
    apart: list[Apart],
    absent: Absent,
) -> Paired:
    miou, sampled = mean_iou(_overlap(total), absent), mean_iou(_overlap(samples), absent)
    own, sampled_iou = iou(_overlap(total[:, 0])), iou(_overlap(samples[:, :, 0]))
    return Paired(
        num_images=numbers[0],
        num_other_truth=numbers[1],
        miou=miou,
        difference=miou - miou[:1],
        bounds=interval(sampled - sampled[:, :1], miou - miou[:1]),
        iou=own,
        iou_bounds=interval(sampled_iou - sampled_iou[:, :1], own - own[:1]),
        apart=apart,
    )


def _apart(name: str, counts: Int[np.ndarray, "S ranks 3 K"], absent: Absent) -> Apart:
    ious = np.nan_to_num(mean_iou(_overlap(counts[:, 0]), absent))
    return Apart(float(ious.max() - ious.min()), name, tuple(ious.tolist()))


def _overlap(counts: Num[np.ndarray, "*n 3 K"]) -> Overlap:
    return Overlap(*np.moveaxis(counts, -2, 0))
