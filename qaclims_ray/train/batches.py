"""Batches of a training: which worker sees which image when, decoded and augmented.

A step's batches are dealt out to the workers that there are. Everything random derives from
(seed, epoch, name): a rerun, a resumed epoch and another number of workers see the same.

Images are decoded and augmented by a worker's own processes (`compute.train.num_loader_workers`),
not by tasks of Ray Data. Both make about as many images a second on a core (figures in
tests/benchmarks/README.md), but Ray Data starts each epoch anew, seconds late, in an order that no
seed fixes, and would send views of 3 MB around, where the JPEG has 70 kB.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int, Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qaclims_ray.config.train import Augment
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.images.transforms import (
    BILINEAR,
    NEAREST,
    augment,
    augment_label_map,
    shrink,
)
from qaclims_ray.model.shapes import Images
from qaclims_ray.train.deal import epoch_rows, shard, steps_per_epoch
from qaclims_ray.train.rows import CAM_COLUMNS, LABEL_MAP

_CELL = 8
"""Pixels per cell of target CAMs: as fine as the backbones of CAMs are, or finer."""


class Batch(NamedTuple):
    """Images that one worker sees at a time."""

    names: list[str]
    images: Images
    targets: Shaped[Tensor, "B ..."]
    """Target of each image: the row of its labels, its label map, or its CAMs."""
    rows: Int[Tensor, "B"]
    """Position of each image in the table."""
    step_rows: Int[Tensor, "G"]
    """Positions of all images of the step, of all workers."""
    weight: float = 1.0
    """Weight of the batch's gradient before averaging over workers."""

    def to(self, device: torch.device) -> "Batch":
        """Copy images and targets to a device; channels last on GPUs, whose tensor cores want it.

        Positions in the table stay with the host, which looks them up.
        """
        images = self.images.to(device, non_blocking=True)
        if device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        targets = self.targets.to(device, non_blocking=True)
        return self._replace(images=images, targets=targets)


class ViewOptions(TypedDict):
    """Arguments of `augment` and `augment_label_map`: the view of one image in one epoch."""

    seed: int
    epoch: int
    name: str
    resize_long: tuple[int, int] | None
    scale: tuple[float, float] | None
    crop: int | None
    flip: bool


Target = Callable[[int, ViewOptions], Tensor]
"""Row of an image, and the view that is seen of it, to its target."""


class LabelTargets:
    """Gives each image the row of its labels: 1 where they name the class, else 0."""

    def __init__(self, table: pa.Table, num_classes: int) -> None:
        self._labels = label_matrix(table, num_classes)

    def __call__(self, row: int, view: ViewOptions) -> Float32[Tensor, "C"]:
        """Return the labels of an image, whichever view is seen."""
        return self._labels[row]


class LabelMapTargets:
    """Gives each image its label map, resized, mirrored and cropped as the image is."""

    def __init__(self, table: pa.Table, max_side: int | None = None) -> None:
        """Read the label maps of a table, whose images are reduced to `max_side` pixels."""
        self._maps = table[LABEL_MAP]
        self._max_side = max_side

    def __call__(self, row: int, view: ViewOptions) -> Shaped[Tensor, "H W"]:
        """Return the label map in the view; `IGNORE` outside the image."""
        label_map = shrink(decode_mask(self._maps[row].as_py()), self._max_side, NEAREST)
        return torch.from_numpy(augment_label_map(label_map, **view))


class CamTargets:
    """Gives each image its CAMs, resized, mirrored and cropped as the image is."""

    def __init__(self, table: pa.Table, num_classes: int, max_side: int | None = None) -> None:
        """Read CAMs from the columns of a table that `CamRow` names.

        Args:
            table: CAMs of its images, which are reduced to `max_side` pixels.
            num_classes: Classes, background excluded.
            max_side: See `data.max_side`.
        """
        self._table = table.select(CAM_COLUMNS)
        self._num_classes = num_classes
        self._max_side = max_side

    def __call__(self, row: int, view: ViewOptions) -> Float32[Tensor, "C h w"]:
        """Return the CAMs in the view, 0 outside the image, averaged over cells of 8 pixels.

        Maps of classes that the labels do not name are -1, see `named_by`.
        """
        cams = self._table.slice(row, 1).to_pylist()[0]
        blank = np.zeros((1, cams["height"], cams["width"]), np.float32)  # there may be no class
        levels = (255 * np.concatenate([full_size(cams), blank])).round().astype(np.uint8)
        small = [shrink(one, self._max_side, BILINEAR) for one in levels]
        maps = [augment_label_map(one, **view, resample=BILINEAR, fill=0) for one in small]
        views = torch.from_numpy(np.stack(maps)) / 255
        height, width = (-(-side // _CELL) for side in views.shape[1:])
        targets = torch.full((self._num_classes, height, width), -1.0)
        targets[cams["classes"]] = F.adaptive_avg_pool2d(views, (height, width))[:-1]
        return targets


def named_by(targets: Float32[Tensor, "B C h w"]) -> Float32[Tensor, "B C"]:
    """Return the labels of images: 1 for each class that their `CamTargets` have a map of."""
    return (targets[:, :, 0, 0] >= 0).float()


class View(NamedTuple):
    """One image as an epoch sees it."""

    name: str
    pixels: Float32[np.ndarray, "3 H W"]
    target: Tensor
    row: int


class TrainingImages(Dataset[View]):
    """Random access to training images: decoded and augmented when asked for, with targets."""

    def __init__(
        self, table: pa.Table, target: Target, augment: Augment, *, seed: int, max_pixels: int
    ) -> None:
        """Read the rows of a table.

        Args:
            table: Names and encoded images.
            target: Makes the target of an image.
            augment: Random changes of the images.
            seed: Seed of these changes.
            max_pixels: Largest image that is decoded.
        """
        self._table = table
        self._target = target
        self._augment = augment
        self._seed = seed
        self._max_pixels = max_pixels
        self.epoch = 0

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, row: int) -> View:
        name = self._table["name"][row].as_py()
        view = ViewOptions(
            seed=self._seed,
            epoch=self.epoch,
            name=name,
            resize_long=self._augment.resize_long,
            scale=self._augment.scale,
            crop=self._augment.crop,
            flip=self._augment.flip,
        )
        image = decode(self._table["image"][row].as_py(), max_pixels=self._max_pixels)
        return View(name, augment(image, **view), self._target(row, view), row)


def label_matrix(table: pa.Table, num_classes: int) -> Float32[Tensor, "N C"]:
    """Return 1 where a row's labels name the class, else 0."""
    labels = torch.zeros(table.num_rows, num_classes)
    for row, classes in enumerate(table["labels"].to_pylist()):
        labels[row, classes] = 1
    return labels


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
            images: All images of the training.
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
        num_batches, images_per_batch = self._sizes
        rows = epoch_rows(
            len(self._images),
            seed=self._seed,
            epoch=epoch,
            num_batches=num_batches,
            images_per_batch=images_per_batch,
            shares=self._shares,
        )[first:]
        loader = DataLoader(
            self._images,
            batch_sampler=rows[:, self._places].reshape(-1, images_per_batch).tolist(),
            collate_fn=_collate,
            num_workers=self._num_workers,
            # Forked processes share the table.
            multiprocessing_context="fork" if self._num_workers else None,
            pin_memory=torch.cuda.is_available(),
        )
        batches: Iterator[Batch] = iter(loader)
        for step in rows:
            whole = torch.from_numpy(step.ravel())
            yield tuple(
                next(batches)._replace(weight=weight, step_rows=whole) for weight in self._weights
            )


def _collate(views: Sequence[View]) -> Batch:
    rows = torch.tensor([view.row for view in views])
    images = torch.from_numpy(np.stack([view.pixels for view in views]))
    targets = torch.stack([view.target for view in views])
    return Batch([view.name for view in views], images, targets, rows, rows)
