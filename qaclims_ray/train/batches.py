"""Batches of a training: who sees which image when, decoded and augmented, with its pairs' texts.

A step's batches are dealt out to the workers that there are. Everything random derives from
(seed, epoch, name): a rerun, a resumed epoch and another number of workers see the same.

Images are decoded and augmented by a worker's own processes (`compute.train.loader_processes`), not
by tasks of Ray Data. Both make about as many images a second on a core (figures in
tests/benchmarks/README.md), but Ray Data starts each epoch anew, seconds late, in an order that no
seed fixes, and would send views of 3 MB around, where the JPEG has 70 kB.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qaclims_ray.config.train import Augment
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import augment
from qaclims_ray.model.texts import PairTexts
from qaclims_ray.types import Images, Labels, PairsRow


class Batch(NamedTuple):
    """Images that one worker looks at at a time."""

    names: list[str]
    images: Images
    labels: Labels
    rows: Int[Tensor, "B"]
    """Position of each image in the table."""
    step_rows: Int[Tensor, "G"]
    """Those of all images of the step, whichever worker has them."""
    weight: float = 1.0
    """Of the batch's gradient, before those of all workers are averaged."""


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


def steps_per_epoch(num_images: int, num_batches: int, images_per_batch: int) -> int:
    """Whole steps of `num_batches` batches; the images left wait for another epoch's order."""
    return num_images // (num_batches * images_per_batch)


def epoch_rows(
    num_images: int, *, seed: int, epoch: int, num_batches: int, images_per_batch: int
) -> Int[np.ndarray, "steps M B"]:
    """Rows of each of the M batches of each step: a permutation of all images, cut up."""
    steps = steps_per_epoch(num_images, num_batches, images_per_batch)
    order = np.random.default_rng([seed, epoch]).permutation(num_images)
    kept = order[: steps * num_batches * images_per_batch]
    return kept.reshape(steps, num_batches, images_per_batch)


def share(num_batches: int, worker: int, num_workers: int) -> tuple[list[int], list[float]]:
    """Which of a step's batches a worker takes, and with which weights.

    The gradient, averaged over workers, is the mean of those of all batches. Every worker takes
    equally many, as they run the same collectives: where their number does not divide that of the
    batches, some take one again, with weight 0.
    """
    rounds = -(-num_batches // num_workers)
    places = [worker + turn * num_workers for turn in range(rounds)]
    weights = [num_workers / num_batches if place < num_batches else 0.0 for place in places]
    return [place % num_batches for place in places], weights


def label_matrix(table: pa.Table, num_classes: int) -> Float32[Tensor, "N C"]:
    """1 where a row's labels name the class."""
    labels = torch.zeros(table.num_rows, num_classes)
    for row, classes in enumerate(table["labels"].to_pylist()):
        labels[row, classes] = 1
    return labels


class Loader:
    """The batches of one worker, step by step."""

    def __init__(
        self,
        images: TrainingImages,
        labels: Float32[Tensor, "N C"],
        *,
        seed: int,
        num_batches: int,
        images_per_batch: int,
        worker: int,
        num_workers: int,
        num_processes: int,
    ) -> None:
        """Deal out batches of the N images to `num_workers` workers.

        Args:
            images: All of them.
            labels: Theirs.
            seed: Of the order.
            num_batches: Batches of a step.
            images_per_batch: Images of a batch.
            worker: Whose share is wanted.
            num_workers: Workers that share the batches.
            num_processes: Processes that load ahead; 0 loads when asked.
        """
        self._images = images
        self._labels = labels
        self._num_processes = num_processes
        self._share = share(num_batches, worker, num_workers)
        self.steps_per_epoch = steps_per_epoch(len(images), num_batches, images_per_batch)
        self._rows = partial(
            epoch_rows,
            len(images),
            seed=seed,
            num_batches=num_batches,
            images_per_batch=images_per_batch,
        )

    def steps(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, ...]]:
        """The worker's batches in each step of an epoch, from its step `first` on."""
        self._images.epoch = epoch
        rows = self._rows(epoch=epoch)[first:]
        places, weights = self._share
        loaded = self._load(rows[:, places].reshape(-1, rows.shape[2]))
        for step in rows:
            whole = torch.from_numpy(step.ravel())
            yield tuple(next(loaded)._replace(weight=one, step_rows=whole) for one in weights)

    def _load(self, rows: Int[np.ndarray, "batches B"]) -> Iterator[Batch]:
        loader = DataLoader(
            self._images,
            batch_sampler=rows.tolist(),
            collate_fn=self._collate,
            num_workers=self._num_processes,
            # Forked processes share the table.
            multiprocessing_context="fork" if self._num_processes else None,
            pin_memory=torch.cuda.is_available(),
        )
        return iter(loader)

    def _collate(self, items: Sequence[tuple[str, Any, int]]) -> Batch:
        names, pixels, positions = zip(*items, strict=True)
        index = torch.tensor(positions)
        images = torch.from_numpy(np.stack(pixels))
        return Batch(list(names), images, self._labels[index], index, index)


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
        counted = [sum(bool(pair["background"]) for pair in row["pairs"]) for row in pairs]
        self._counted = torch.tensor(counted, device=device)
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

    def num_counted(self, rows: Int[Tensor, "G"]) -> Int[Tensor, ""]:
        """How many pairs of the images in these rows have a background text, and so a loss."""
        return self._counted[rows].sum()


def _padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "P L"]:
    width = max((len(row) for row in rows), default=0)
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), width)
