"""Rows of the artifact `scores`: what each image adds to the scores."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.metrics.confusion import Overlap, levels
from qaclims_ray.metrics.counts import Tally, tally
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import dataset
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.types import BACKGROUND, IGNORE, CamRow, ScoreRow

_BATCH = 256


class Tallies:
    """The counts of all scored images of an artifact `scores`, in the order of their names.

    They can be gone through as often as one likes; a few are in memory at a time.
    """

    def __init__(self, scores: Artifact) -> None:
        self._rows = dataset(scores)

    def __iter__(self) -> Iterator[Tally]:
        for batch in self._rows.to_batches(batch_size=_BATCH):
            rows = cast(list[ScoreRow], batch.to_pylist())
            yield from (one for one in map(unpack, rows) if one is not None)


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


def score_label_map(folder: str, name: str, mask: bytes, num_classes: int) -> ScoreRow:
    """Counts of a label map; a predicted 255 counts as background.

    Args:
        folder: Folder or URL of label maps, files `<name>.png` that `decode_mask` reads.
        name: Of the image.
        mask: Encoded ground truth.
        num_classes: Background excluded.

    Raises:
        ValueError: no label map, of another size than the ground truth, or values out of range.
    """
    uri = f"{folder}/{name}.png"
    try:
        predicted = decode_mask(read_bytes(uri)).astype(np.int64)
        predicted[predicted == IGNORE] = BACKGROUND
        level = (predicted != BACKGROUND).astype(np.int64)
        return pack(name, tally(predicted, level, decode_mask(mask), 1, num_classes))
    except ValueError as error:
        raise ValueError(f"{uri}: {error}") from error


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
