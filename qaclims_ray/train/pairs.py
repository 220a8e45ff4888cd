"""The texts of all pairs (image, class) of a training, as rows of a table of text features."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.pixels import copied
from qaclims_ray.model.texts import PairTexts
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import NameIndex
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.types import PairsRow


def pairs_of(experiment: Experiment, data: TrainingSet) -> Iterator[list[PairsRow]]:
    """Yield the pairs of all images of a set, some thousand images at a time.

    Raises:
        ValueError: see `check_labels`.
    """
    index = NameIndex(artifact(experiment, "pairs"))
    for table in data.labels():
        pairs = index.look_up(table["name"].to_pylist(), ["name", "pairs"]).to_pylist()
        check_labels(pairs, table["labels"].to_pylist())
        yield pairs


def check_labels(pairs: Sequence[PairsRow], labels: Sequence[Sequence[int]]) -> None:
    """Check that pairs are those that the labels name, as no step looks at both.

    Raises:
        ValueError: an image has others.
    """
    for row, own in zip(pairs, labels, strict=True):
        there = sorted(pair["label"] for pair in row["pairs"])
        if there != sorted(own):
            raise ValueError(
                f"{row['name']}: pairs are of the classes {there}, labels name {sorted(own)}: make "
                "the pairs anew (qaclims texts --overwrite)"
            )


class PairTable:
    """Rows of the text features of every pair of a table of images.

    How many pairs an image has is known to the host, so that it never waits for a device to tell.
    Pairs are ordered as `select_pairs` orders those of a batch: by image, then by class.
    """

    def __init__(
        self,
        parts: Iterable[Sequence[PairsRow]],
        rows_of: Mapping[str, int],
        class_names: Sequence[str],
        device: torch.device,
    ) -> None:
        """Look up the texts of all pairs.

        Args:
            parts: Pairs of each image, in the order of the table, some thousand images at a time.
            rows_of: Row of each text's feature.
            class_names: Names in the order of their indices.
            device: Where the rows go.
        """
        found = [_Part.of(part, rows_of, class_names) for part in parts]
        label = torch.cat([part.texts.label for part in found])
        foreground = _stacked([part.texts.foreground for part in found])
        background = _stacked([part.texts.background for part in found])
        self._device = device
        self._texts = PairTexts(*(one.to(device) for one in (label, foreground, background)))
        self._counted = torch.cat([part.counted for part in found])
        self._counts = torch.cat([part.counts for part in found])
        self._starts = self._counts.cumsum(0) - self._counts

    def texts_of(self, rows: Int[Tensor, "B"]) -> PairTexts:
        """Return the texts of all pairs of the images in these rows, which lie on the host."""
        counts = self._counts[rows]
        first = counts.cumsum(0) - counts
        offsets = (self._starts[rows] - first).repeat_interleave(counts)
        index = copied(torch.arange(len(offsets)) + offsets, self._device)
        return PairTexts(*(tensor[index] for tensor in self._texts))

    def num_counted(self, rows: Int[Tensor, "G"]) -> int:
        """Count the pairs in these rows that have a background text, and so a loss."""
        return int(self._counted[rows].sum())


class _Part(NamedTuple):
    """The pairs of some images."""

    texts: PairTexts
    counts: Int[Tensor, "N"]
    """Pairs of each image."""
    counted: Int[Tensor, "N"]
    """Those of them that have a background text."""

    @classmethod
    def of(
        cls, rows: Sequence[PairsRow], rows_of: Mapping[str, int], class_names: Sequence[str]
    ) -> "_Part":
        """Look up the texts."""
        flat = [pair for row in rows for pair in sorted(row["pairs"], key=lambda p: p["label"])]
        labels = [rows_of[class_names[pair["label"]]] for pair in flat]
        texts = PairTexts(
            label=torch.tensor(labels, dtype=torch.long),
            foreground=_padded([[rows_of[text] for text in pair["foreground"]] for pair in flat]),
            background=_padded([[rows_of[text] for text in pair["background"]] for pair in flat]),
        )
        counted = [sum(bool(pair["background"]) for pair in row["pairs"]) for row in rows]
        counts = [len(row["pairs"]) for row in rows]
        return cls(texts, *(torch.tensor(one, dtype=torch.long) for one in (counts, counted)))


def _stacked(parts: Sequence[Int[Tensor, "_ _"]]) -> Int[Tensor, "P L"]:
    width = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, width - part.shape[1]), value=-1) for part in parts])


def _padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "P L"]:
    width = max((len(row) for row in rows), default=0)
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), width)
