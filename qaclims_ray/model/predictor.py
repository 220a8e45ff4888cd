"""A trained CAM network as a function of images: NumPy in, NumPy out.

net = load_cam_net("runs/demo/cam_net/model.safetensors", "small_resnet", num_classes=8)
cams = CamPredictor(net).predict(images, labels)
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from qaclims_ray.images.ahead import ahead
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import NORMALISED, rescale
from qaclims_ray.model.cam_net import CamNet, build_cam_net
from qaclims_ray.model.checkpoints import load_network
from qaclims_ray.model.multiscale import (
    SCALES,
    Activation,
    Resize,
    Resolution,
    cams_of_scales,
    resize_images,
)
from qaclims_ray.model.pixels import look_up, to_device
from qaclims_ray.types import CamRow, Image, ImageRow

Stack = UInt8[np.ndarray, "B _ _ 3"]
"""Images of one size."""


def load_cam_net(uri: str, backbone: str, num_classes: int) -> CamNet:
    """Load a trained CAM network, ready to predict, on the GPU if this process sees one.

    Args:
        uri: Path or URL of a `model.safetensors`.
        backbone: Name of its backbone (`model.backbone`).
        num_classes: Classes, background excluded.
    """
    net = build_cam_net(backbone, num_classes)
    load_network(net, uri)
    return net.to("cuda" if torch.cuda.is_available() else "cpu").eval()


class CamPredictor:
    """Predicts class activation maps (CAMs) with one network on one device.

    Images of unlike size never share a batch: padding would change what convolutions see at the
    border, and so the maps. The more images there are to choose from, the fuller the batches.
    """

    def __init__(
        self,
        net: CamNet,
        *,
        scales: Sequence[float] = SCALES,
        activation: Activation = "relu",
        resolution: Resolution = "strided",
        resize: Resize = "uint8",
        max_images: int = 8,
    ) -> None:
        """Wrap a network that is in evaluation mode.

        Args:
            net: Images to logit maps.
            scales: Image scales; each image is also mirrored, and the maps are summed.
            activation: On the logits before fusion.
            resolution: `strided` gives (side - 1) // 4 + 1 cells, `full` one per pixel.
            resize: Scale pixels of 8 bits, as published, or the normalised image.
            max_images: Largest batch.
        """
        self._net = net
        self._scales = tuple(scales)
        self._activation: Activation = activation
        self._resolution: Resolution = resolution
        self._resize: Resize = resize
        self._max_images = max_images

    def predict(
        self, images: Sequence[Image], labels: Sequence[Sequence[int]]
    ) -> list[Float[np.ndarray, "_ _ _"]]:
        """Predict the CAMs of the classes that each image shows.

        Args:
            images: RGB, 0 to 255, of any size.
            labels: Class indices of each image, sorted; those of an image may be empty.

        Returns:
            One float32 array per image, one map in [0, 1) per label, in the labels' order.
        """
        made: dict[int, Float[np.ndarray, "_ _ _"]] = {}
        for batch in equal_sizes([image.shape[:2] for image in images], self._max_images):
            views = self._views([images[i] for i in batch])
            maps = self._predict(views, images[batch[0]].shape[:2], [labels[i] for i in batch])
            made |= zip(batch, maps, strict=True)
        return [made[i] for i in range(len(images))]

    def predict_rows(self, rows: Sequence[ImageRow], max_pixels: int) -> list[CamRow]:
        """Predict the CAMs of rows of the artifact `images`, decoding one batch at a time.

        An image whose labels nobody knows has none.

        Args:
            rows: Name, encoded image, its size and labels.
            max_pixels: Largest image that is decoded.
        """

        def views(batch: Sequence[int]) -> tuple[list[Stack], tuple[int, int]]:
            images = [decode(rows[i]["image"], max_pixels=max_pixels) for i in batch]
            height, width = images[0].shape[:2]  # not of the file, which may be larger
            return self._views(images), (height, width)

        sizes = [(row["height"], row["width"]) for row in rows]
        batches = list(equal_sizes(sizes, self._max_images))
        made: dict[int, CamRow] = {}
        prepared = ahead(views, batches, is_on=self._device.type == "cuda")
        for batch, (seen, size) in zip(batches, prepared, strict=True):
            labels = [rows[i]["labels"] or [] for i in batch]
            maps = self._predict(seen, size, labels)
            made |= {i: cam_row(rows[i], own) for i, own in zip(batch, maps, strict=True)}
        return [made[i] for i in range(len(rows))]

    @property
    def _device(self) -> torch.device:
        return next(self._net.parameters()).device

    def _views(self, images: Sequence[Image]) -> list[Stack]:
        """Stack images of one size, in each scale where it is pixels that are scaled."""
        scales = self._scales if self._resize == "uint8" else (1.0,)
        return [np.stack([rescale(image, scale) for image in images]) for scale in scales]

    def _predict(
        self, views: Sequence[Stack], size: tuple[int, int], labels: Sequence[Sequence[int]]
    ) -> list[Float[np.ndarray, "_ _ _"]]:
        """Predict the CAMs of images of one size, as one batch."""
        present = torch.zeros(len(labels), self._net.classifier.out_channels)
        for row, own in zip(present, labels, strict=True):
            row[list(own)] = 1
        maps = cams_of_scales(
            self._net,
            self._scaled(views),
            present.to(self._device),
            size,
            self._activation,
            self._resolution,
        )
        split = maps[:, 0].cpu().split([len(own) for own in labels])
        return [own.numpy() for own in split]

    def _scaled(self, views: Sequence[Stack]) -> Iterator[Float[Tensor, "B 3 _ _"]]:
        """Yield the normalised images in each scale, on the device of the network."""
        levels = torch.from_numpy(NORMALISED).to(self._device)
        normalised = (look_up(to_device(view, self._device), levels) for view in views)
        if self._resize == "uint8":
            yield from normalised
        else:
            (pixels,) = normalised
            yield from (resize_images(pixels, scale) for scale in self._scales)


def equal_sizes(sizes: Sequence[tuple[int, ...]], max_images: int) -> Iterator[list[int]]:
    """Yield the positions of the images of each size, in batches of at most `max_images`."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, size in enumerate(sizes):
        groups.setdefault(size, []).append(position)
    for group in groups.values():
        for start in range(0, len(group), max_images):
            yield group[start : start + max_images]


def cam_row(row: ImageRow, maps: Float[np.ndarray, "_ _ _"]) -> CamRow:
    """Return the row of an image's CAMs, which are rounded to float16."""
    return CamRow(
        name=row["name"],
        height=row["height"],
        width=row["width"],
        classes=row["labels"] or [],
        cam=maps.astype(np.float16).tobytes(),
        cam_height=maps.shape[1],
        cam_width=maps.shape[2],
    )
