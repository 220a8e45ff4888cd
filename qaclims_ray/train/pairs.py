"""The texts of the pairs (image, class) of a training, as rows of a table of text features.

They come with the images; of all pairs together a worker knows no more than their numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Int, Int16
from torch import Tensor

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.pixels import copied
from qaclims_ray.model.texts import PairTexts
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import NameIndex
from qaclims_ray.train.rows import Row
from qaclims_ray.train.sets import TrainingSet


class Pair(NamedTuple):
    """The texts of a pair, as rows of a table of text features; see `PairTexts`."""

    label: int
    foreground: list[int]
    background: list[int]


class PairReader:
    """Looks the texts of an image's pairs up, in the process that decodes the image."""

    def __init__(self, rows_of: Mapping[str, int], class_names: Sequence[str]) -> None:
        """Take the row of each text's feature, and the class names in the order of indices."""
        self._rows_of, self._class_names = rows_of, class_names

    def __call__(self, row: Row) -> list[Pair]:
        """Return the pairs of an image, ordered by class as `select_pairs` orders them."""
        assert "pairs" in row
        return [
            Pair(
                self._rows_of[self._class_names[pair["label"]]],
                [self._rows_of[text] for text in pair["foreground"]],
                [self._rows_of[text] for text in pair["background"]],
            )
            for pair in sorted(row["pairs"], key=lambda pair: pair["label"])
        ]


class PairCounts(NamedTuple):
    """What is known of all pairs of a training before it starts."""

    counted: Int16[Tensor, "N"]
    """Pairs of each image that have a background text, and so a loss."""
    most_foregrounds: int
    """Prompts of a pair."""
    most_backgrounds: int
    """Background texts of a pair."""

    def num_counted(self, rows: Int[Tensor, "G"]) -> int:
        """Count the pairs with a loss in these rows of the training set."""
        return int(self.counted[rows].sum())

    def texts(self, images: Sequence[Sequence[Pair]], device: torch.device) -> PairTexts:
        """Return the texts of the pairs of a batch's images, always as wide, on a device.

        How many pairs there are is known to the host, so that it never waits for a device to tell.
        """
        pairs = [pair for own in images for pair in own]
        label = torch.tensor([pair.label for pair in pairs], dtype=torch.long)
        foreground = _padded([pair.foreground for pair in pairs], self.most_foregrounds)
        background = _padded([pair.background for pair in pairs], self.most_backgrounds)
        return PairTexts(*(copied(one, device) for one in (label, foreground, background)))


def count_pairs(
    experiment: Experiment, data: TrainingSet, rows_of: Mapping[str, int]
) -> PairCounts:
    """Go through the pairs of all images of a set, some thousand images at a time.

    Args:
        experiment: The run.
        data: The set.
        rows_of: Has a key for each text that has a feature.

    Raises:
        ValueError: see `count_part`.
    """
    index = NameIndex(artifact(experiment, "pairs"))
    parts = [
        count_part(index.look_up(table["name"].to_pylist(), ["name", "pairs"]), table, rows_of)
        for table in data.labels()
    ]
    counted, foregrounds, backgrounds = zip(*parts, strict=True)
    return PairCounts(torch.cat(counted), max(foregrounds), max(backgrounds))


def count_part(pairs: pa.Table, images: pa.Table, rows_of: Mapping[str, int]) -> PairCounts:
    """Go through the pairs of some images.

    Args:
        pairs: Rows of the artifact `pairs`.
        images: Name and labels of the same images.
        rows_of: See `count_pairs`.

    Raises:
        ValueError: pairs are others than those that the labels name, as no step looks at both; or
            a text has no feature.
    """
    column = pairs["pairs"].combine_chunks()
    label, foreground, background = column.flatten().flatten()
    _check_labels(column, label, images)
    texts = pc.call_function("unique", [pa.concat_arrays([foreground, background]).flatten()])
    if without := [text for text in texts.to_pylist() if text not in rows_of]:
        raise ValueError(
            f"{len(without)} texts of pairs have no feature, such as {without[0]!r}: make texts "
            "and features anew (qaclims texts --overwrite)"
        )
    lengths = [_lengths(texts) for texts in (foreground, background)]
    has_background = lengths[1] > 0
    counted = np.bincount(_parents(column)[has_background], minlength=len(column))
    most = (int(own.max(initial=0)) for own in lengths)
    return PairCounts(torch.from_numpy(counted.astype(np.int16)), *most)


def _check_labels(pairs: pa.Array, label: pa.Array, images: pa.Table) -> None:
    """Check that the pairs of each image, whose labels come flat, are those of its labels."""
    named = images["labels"].combine_chunks()
    here = np.stack([_parents(pairs), label.to_numpy()])
    there = np.stack([_parents(named), named.flatten().to_numpy()])
    here, there = (both[:, np.lexsort((both[1], both[0]))] for both in (here, there))
    if np.array_equal(here, there):
        return
    names = images["name"].to_pylist()
    for image, (own, labels) in enumerate(zip(pairs.to_pylist(), named.to_pylist(), strict=True)):
        classes = sorted(pair["label"] for pair in own)
        if classes != sorted(labels):
            raise ValueError(
                f"{names[image]}: pairs are of the classes {classes}, labels name "
                f"{sorted(labels)}: make the pairs anew (qaclims texts --overwrite)"
            )


def _parents(lists: Any) -> Int[np.ndarray, "values"]:
    """Return the place of the list that each value of an array of lists is in."""
    return pc.call_function("list_parent_indices", [lists]).to_numpy()


def _lengths(lists: Any) -> Int[np.ndarray, "lists"]:
    return pc.call_function("list_value_length", [lists]).to_numpy()


def _padded(rows: Sequence[Sequence[int]], width: int) -> Int[Tensor, "P L"]:
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), width)
