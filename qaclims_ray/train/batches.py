"""Batches of a training: which worker sees which image when, decoded and augmented.

A step's batches are dealt out to the workers that there are, see deal.py. Everything random derives
from (seed, epoch, name): a rerun, a resumed epoch and another number of workers see the same.

Images are decoded and augmented by a worker's own processes (`compute.train.num_loader_workers`),
not by tasks of Ray Data. Both make about as many images a second on a core (figures in
tests/benchmarks/README.md), but Ray Data starts each epoch anew, seconds late, in an order that no
seed fixes, and would send views of 3 MB around, where the JPEG has 70 kB.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qaclims_ray.config.train import Augment
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import augment
from qaclims_ray.model.shapes import Images
from qaclims_ray.train.deal import shard, steps_per_epoch
from qaclims_ray.train.rows import Row
from qaclims_ray.train.sets import Deal, Item, TrainingSet
from qaclims_ray.train.targets import Target, ViewOptions


class Batch(NamedTuple):
    """Images that one worker sees at a time."""

    names: list[str]
    images: Images
    targets: Shaped[Tensor, "B ..."]
    """Target of each image: the row of its labels, its label map, or its CAMs."""
    rows: Int[Tensor, "B"]
    """Number of each image in the training set."""
    step_rows: Int[Tensor, "G"]
    """Numbers of all images of the step, of all workers."""
    weight: float = 1.0
    """Weight of the batch's gradient before averaging over workers."""
    beside: Sequence[Any] = ()
    """What the loss wants of each image beside its target, see `TrainingImages`; it stays on the
    host."""

    def to(self, device: torch.device) -> "Batch":
        """Copy images and targets to a device; channels last on GPUs, whose tensor cores want it.

        Numbers in the set stay with the host, which looks them up.
        """
        images = self.images.to(device, non_blocking=True)
        if device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        targets = self.targets.to(device, non_blocking=True)
        return self._replace(images=images, targets=targets)


class View(NamedTuple):
    """One image as an epoch sees it."""

    name: str
    pixels: Float32[np.ndarray, "3 H W"]
    target: Tensor
    row: int
    beside: Any


class TrainingImages(Dataset[View]):
    """Decodes and augments training images, with their targets, when they are asked for."""

    def __init__(
        self,
        data: TrainingSet,
        target: Target,
        augment: Augment,
        *,
        seed: int,
        max_pixels: int,
        beside: Callable[[Row], Any] | None = None,
    ) -> None:
        """See the images of a set.

        Args:
            data: The set.
            target: Makes the target of an image.
            augment: Random changes of the images.
            seed: Seed of these changes.
            max_pixels: Largest image that is decoded.
            beside: What the loss wants of an image's row beside its target; None: nothing.
        """
        self.data = data
        self._target = target
        self._augment = augment
        self._seed = seed
        self._max_pixels = max_pixels
        self._beside = beside
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: Item) -> View:
        number, row = self.data.row(item)
        view = ViewOptions(
            seed=self._seed,
            epoch=self.epoch,
            name=row["name"],
            resize_long=self._augment.resize_long,
            scale=self._augment.scale,
            crop=self._augment.crop,
            flip=self._augment.flip,
        )
        image = decode(row["image"], max_pixels=self._max_pixels)
        beside = None if self._beside is None else self._beside(row)
        return View(row["name"], augment(image, **view), self._target(row, view), number, beside)


class BatchLoader:
    """Loads the batches of one worker, step by step."""

    def __init__(
        self,
        images: TrainingImages,
        *,
        seed: int,
        num_batches: int,
        images_per_batch: int,
        rank: int,
        world_size: int,
        num_workers: int,
        shares: Float32[np.ndarray, "N"] | None = None,
    ) -> None:
        """Deal out batches to workers.

        Args:
            images: The images of the training.
            seed: Seed of the order of images.
            num_batches: Batches of a step, over all workers.
            images_per_batch: Images of a batch.
            rank: Worker whose batches are loaded.
            world_size: Workers that share the batches.
            num_workers: Processes that load ahead; 0 loads when asked.
            shares: See `epoch_rows`.
        """
        self._images = images
        self._seed = seed
        self._sizes = num_batches, images_per_batch
        self._places, self._weights = shard(num_batches, rank, world_size)
        self._num_workers = num_workers
        self._shares = shares
        self.steps_per_epoch = steps_per_epoch(len(images), num_batches, images_per_batch)

    def steps(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, ...]]:
        """Yield the worker's batches of each step of an epoch, from its step `first` on."""
        self._images.epoch = epoch
        deal = Deal(self._seed, epoch, first, *self._sizes, self._places, self._shares)
        dealt = self._images.data.deal(deal)
        loader = DataLoader(
            self._images,
            batch_sampler=dealt.batches,
            collate_fn=_collate,
            num_workers=self._num_workers,
            # Forked processes share the table of a whole set.
            multiprocessing_context="fork" if self._num_workers else None,
            pin_memory=torch.cuda.is_available(),
        )
        batches: Iterator[Batch] = iter(loader)
        for step in dealt.steps:
            whole = torch.from_numpy(step.ravel())
            yield tuple(
                next(batches)._replace(weight=weight, step_rows=whole) for weight in self._weights
            )


def _collate(views: Sequence[View]) -> Batch:
    rows = torch.tensor([view.row for view in views])
    images = torch.from_numpy(np.stack([view.pixels for view in views]))
    targets = torch.stack([view.target for view in views])
    beside = [view.beside for view in views]
    return Batch([view.name for view in views], images, targets, rows, rows, beside=beside)
