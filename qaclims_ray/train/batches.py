"""Batches of a training: who sees which image when, decoded and augmented, with its pairs' texts.

Everything random derives from (seed, epoch, name): a resumed epoch and a rerun see the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qaclims_ray.data.images import augment, decode
from qaclims_ray.model.texts import PairTexts
from qaclims_ray.sections import Augment
from qaclims_ray.types import Images, Labels, PairsRow


class Batch(NamedTuple):
    """Images of one worker's step."""

    names: list[str]
    images: Images
    labels: Labels
    rows: Int[Tensor, "B"]
    """Position of each image in the table."""


class TrainingImages(Dataset[tuple[str, Float32[np.ndarray, "3 H W"], int]]):
    """Random access to encoded images, decoded and augmented when asked for."""

    def __init__(self, table: pa.Table, augment: Augment, seed: int, max_pixels: int) -> None:
        self._table = table
        self._augment = augment
        self._seed = seed
        self._max_pixels = max_pixels
        self.epoch = 0

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, row: int) -> tuple[str, Float32[np.ndarray, "3 H W"], int]:
        name = self._table["name"][row].as_py()
        image = decode(self._table["image"][row].as_py(), max_pixels=self._max_pixels)
        pixels = augment(
            image,
            seed=self._seed,
            epoch=self.epoch,
            name=name,
            **self._augment.model_dump(),
        )
        return name, pixels, row


def steps_per_epoch(num_images: int, num_workers: int, images_per_worker: int) -> int:
    """Steps of every worker; the rest of the images waits for another epoch's order."""
    return max(1, num_images // (num_workers * images_per_worker))


def epoch_rows(
    num_images: int, *, seed: int, epoch: int, worker: int, num_workers: int, images_per_worker: int
) -> Int[np.ndarray, "steps B"]:
    """Rows of one worker's batches: a permutation of all images, dealt out to the workers.

    Fewer images than a global batch holds are repeated, so that every worker has one.
    """
    steps = steps_per_epoch(num_images, num_workers, images_per_worker)
    order = np.random.default_rng([seed, epoch]).permutation(num_images)
    dealt = np.resize(order, (steps, num_workers, images_per_worker))
    return dealt[:, worker]


def label_matrix(table: pa.Table, num_classes: int) -> Float32[Tensor, "N C"]:
    """1 where a row's labels name the class."""
    labels = torch.zeros(table.num_rows, num_classes)
    for row, classes in enumerate(table["labels"].to_pylist()):
        labels[row, classes] = 1
    return labels


def batches(
    images: TrainingImages,
    labels: Float32[Tensor, "N C"],
    rows: Int[np.ndarray, "steps B"],
    num_processes: int,
) -> Iterator[Batch]:
    """The batches of one epoch, loaded ahead by `num_processes` processes (0: when asked for).

    `labels` are those of all N images.
    """

    def collate(items: Sequence[tuple[str, Any, int]]) -> Batch:
        names, pixels, positions = zip(*items, strict=True)
        index = torch.tensor(positions)
        return Batch(list(names), torch.from_numpy(np.stack(pixels)), labels[index], index)

    loader = DataLoader(
        images,
        batch_sampler=rows.tolist(),
        collate_fn=collate,
        num_workers=num_processes,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


class PairTable:
    """Rows of the text bank for every pair of a table of images, on one device.

    Pairs are ordered as `select_pairs` orders those of a batch: by image, then by class.
    """

    def __init__(
        self,
        pairs: Sequence[PairsRow],
        rows_of: Mapping[str, int],
        class_names: Sequence[str],
        device: torch.device,
    ) -> None:
        flat = [pair for row in pairs for pair in sorted(row["pairs"], key=lambda p: p["label"])]
        texts = PairTexts(
            label=torch.tensor(
                [rows_of[class_names[pair["label"]]] for pair in flat], dtype=torch.long
            ),
            foreground=_padded([[rows_of[text] for text in pair["foreground"]] for pair in flat]),
            background=_padded([[rows_of[text] for text in pair["background"]] for pair in flat]),
        )
        self._texts = PairTexts(*(tensor.to(device) for tensor in texts))
        counts = torch.tensor([len(row["pairs"]) for row in pairs])
        self._counts = counts.to(device)
        self._starts = (counts.cumsum(0) - counts).to(device)

    def of(self, rows: Int[Tensor, "B"]) -> PairTexts:
        """The texts of all pairs of the images in these rows."""
        counts = self._counts[rows]
        first = counts.cumsum(0) - counts
        offsets = (self._starts[rows] - first).repeat_interleave(counts)
        index = torch.arange(len(offsets), device=offsets.device) + offsets
        return PairTexts(*(tensor[index] for tensor in self._texts))


def _padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "P L"]:
    width = max((len(row) for row in rows), default=0)
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), width)
