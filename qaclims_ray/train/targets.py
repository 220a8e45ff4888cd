"""What an image is to teach: its labels, its label map or its CAMs, seen as the image is seen."""

from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Shaped
from torch import Tensor

from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.transforms import BILINEAR, NEAREST, augment_label_map, shrink
from qaclims_ray.train.rows import Row

_CELL = 8
"""Pixels per cell of target CAMs: as fine as the backbones of CAMs are, or finer."""


class ViewOptions(TypedDict):
    """Arguments of `augment` and `augment_label_map`: the view of one image in one epoch."""

    seed: int
    epoch: int
    name: str
    resize_long: tuple[int, int] | None
    scale: tuple[float, float] | None
    crop: int | None
    flip: bool


Target = Callable[[Row, ViewOptions], Tensor]
"""Row of an image, and the view that is seen of it, to its target."""


class LabelTargets:
    """Gives each image its labels: 1 where they name the class, else 0."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes

    def __call__(self, row: Row, view: ViewOptions) -> Float32[Tensor, "C"]:
        """Return the labels of an image, whichever view is seen."""
        labels = torch.zeros(self._num_classes)
        labels[row["labels"]] = 1
        return labels


class LabelMapTargets:
    """Gives each image its label map, resized, mirrored and cropped as the image is."""

    def __init__(self, max_side: int | None = None) -> None:
        """Read label maps of images that were reduced to `max_side` pixels."""
        self._max_side = max_side

    def __call__(self, row: Row, view: ViewOptions) -> Shaped[Tensor, "H W"]:
        """Return the label map in the view; `IGNORE` outside the image."""
        assert "label_map" in row
        label_map = shrink(decode_mask(row["label_map"]), self._max_side, NEAREST)
        return torch.from_numpy(augment_label_map(label_map, **view))


class CamTargets:
    """Gives each image its CAMs, resized, mirrored and cropped as the image is."""

    def __init__(self, num_classes: int, max_side: int | None = None) -> None:
        """Read CAMs from the values of rows that `CamRow` names.

        Args:
            num_classes: Classes, background excluded.
            max_side: Side in pixels that images were reduced to, see `data.max_side`.
        """
        self._num_classes = num_classes
        self._max_side = max_side

    def __call__(self, row: Row, view: ViewOptions) -> Float32[Tensor, "C h w"]:
        """Return the CAMs in the view, 0 outside the image, averaged over cells of 8 pixels.

        Maps of classes that the labels do not name are -1, see `named_by`.
        """
        cams: Any = row
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


def label_matrix(table: pa.Table, num_classes: int) -> Float32[Tensor, "N C"]:
    """Return 1 where a row's labels name the class, else 0."""
    labels = torch.zeros(table.num_rows, num_classes)
    for row, classes in enumerate(table["labels"].to_pylist()):
        labels[row, classes] = 1
    return labels
