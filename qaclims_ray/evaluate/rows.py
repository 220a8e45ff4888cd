"""What each image adds to the scores: its counts at all thresholds, and the rows that keep them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Int, UInt8

from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.metrics.boundary import boundary_overlap
from qaclims_ray.metrics.confusion import (
    Levels,
    Overlap,
    check_values,
    count_levels,
    known,
    levels,
    overlap,
)
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import dataset
from qaclims_ray.types import BACKGROUND, IGNORE, CamRow, LabelMap, ScoreRow

Unsure = Literal["background", "ignore"]
_BATCH = 256


class Tally(NamedTuple):
    """What one image adds to every score; `k` of all classes are true or predicted in it."""

    classes: Int[np.ndarray, "k"]
    """Values of label maps, ascending, the background first."""
    areas: Int[np.ndarray, "T k k"]
    """Confusion matrices."""
    boundaries: Overlap
    """Overlap of the bands along boundaries."""


class Tallies:
    """The counts of all scored images of an artifact `scores`, in the order of their names.

    They can be gone through as often as one likes; a few are in memory at a time.
    """

    def __init__(self, scores: Artifact) -> None:
        self._rows = dataset(scores)

    def __iter__(self) -> Iterator[Tally]:
        return (counts for _, counts in self.named())

    def named(self) -> Iterator[tuple[str, Tally]]:
        """Go through the names of the scored images and their counts."""
        for batch in self._rows.to_batches(batch_size=_BATCH):
            for row in cast(list[ScoreRow], batch.to_pylist()):
                if (counts := unpack(row)) is not None:
                    yield row["name"], counts


def score_cams(
    rows: Sequence[CamRow],
    masks: Mapping[str, bytes],
    thresholds: Sequence[float],
    num_classes: int,
) -> list[ScoreRow]:
    """Counts of some images' CAMs at all thresholds, one row per image.

    Args:
        rows: CAMs.
        masks: Encoded ground truth by name; an image without is not scored.
        thresholds: Background scores, ascending.
        num_classes: Background excluded.
    """
    made: list[ScoreRow] = []
    for row in rows:
        if row["name"] not in masks:
            made.append(unscored(row["name"]))
            continue
        truth = decode_mask(masks[row["name"]])
        winner, level = levels(full_size(row), row["classes"], thresholds)
        made.append(pack(row["name"], tally(winner, level, truth, len(thresholds), num_classes)))
    return made


def score_label_map(
    name: str, label_map: LabelMap, mask: bytes, num_classes: int, unsure: Unsure
) -> ScoreRow:
    """Count the pixels of a label map against the ground truth.

    Args:
        name: Name of the image.
        label_map: Of the image's size.
        mask: Encoded ground truth.
        num_classes: Background excluded.
        unsure: What a predicted 255 counts as: the background, or nothing at all.

    Raises:
        ValueError: the label map is of another size than the ground truth, or a value is no class.
    """
    predicted, truth = label_map.astype(np.int64), decode_mask(mask)
    if unsure == "ignore" and predicted.shape == truth.shape:
        truth = np.where(predicted == IGNORE, np.uint8(IGNORE), truth)
    predicted[predicted == IGNORE] = BACKGROUND
    level = (predicted != BACKGROUND).astype(np.int64)
    return pack(name, tally(predicted, level, truth, 1, num_classes))


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


def unscored(name: str) -> ScoreRow:
    """The row of an image without ground truth, or that is not among those to be scored."""
    return ScoreRow(name=name, classes=None, areas=None, boundaries=None)


def pack(name: str, tally: Tally) -> ScoreRow:
    """Counts as a row."""
    return ScoreRow(
        name=name,
        classes=tally.classes.tolist(),
        areas=tally.areas.astype(np.int32).tobytes(),
        boundaries=b"".join(part.astype(np.int32).tobytes() for part in tally.boundaries),
    )


def unpack(row: ScoreRow) -> Tally | None:
    """The counts in a row; None for an image that is not scored."""
    if row["classes"] is None or row["areas"] is None or row["boundaries"] is None:
        return None
    size = len(row["classes"])
    areas = np.frombuffer(row["areas"], np.int32).reshape(-1, size, size)
    bands = np.frombuffer(row["boundaries"], np.int32).reshape(-1, size)
    num_thresholds = len(areas)
    parts = np.split(bands, [num_thresholds, 2 * num_thresholds])
    return Tally(np.array(row["classes"]), areas, Overlap(*parts))
