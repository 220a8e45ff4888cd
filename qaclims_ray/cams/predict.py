"""CAMs of image rows by one network on one device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from qaclims_ray.cams.multiscale import multiscale_cams
from qaclims_ray.data.images import decode, normalise
from qaclims_ray.model.cam_net import CamNet, build_cam_net
from qaclims_ray.sections.scores import Cams
from qaclims_ray.storage import read_bytes
from qaclims_ray.types import CamRow, ImageRow


def load_net(model: str, backbone: str, num_classes: int) -> CamNet:
    """A trained CAM network, ready to predict, on the GPU if this process sees one.

    Args:
        model: URI of a `model.safetensors`.
        backbone: Its name.
        num_classes: Background excluded.
    """
    net = build_cam_net(backbone, num_classes)
    net.load_state_dict(load(read_bytes(model)))
    return net.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def load_predictor(
    model: str,
    backbone: str,
    num_classes: int,
    cams: Mapping[str, Any],
    max_pixels: int,
    max_images: int,
) -> Callable[[Sequence[ImageRow]], list[CamRow]]:
    """What an actor does with its rows: `predict_cams` by a trained network (`load_net`).

    Args:
        model: As for `load_net`.
        backbone: As for `load_net`.
        num_classes: Background excluded.
        cams: The section `cams` as plain data.
        max_pixels: As for `predict_cams`.
        max_images: As for `predict_cams`.
    """
    return partial(
        predict_cams,
        net=load_net(model, backbone, num_classes),
        num_classes=num_classes,
        cams=Cams.model_validate(cams),
        max_pixels=max_pixels,
        max_images=max_images,
    )


def predict_cams(
    rows: Sequence[ImageRow],
    net: nn.Module,
    num_classes: int,
    cams: Cams,
    max_pixels: int,
    max_images: int,
) -> list[CamRow]:
    """The CAMs of the classes that each image's labels name, images of equal size together.

    An image whose labels nobody knows has none.

    Images of unlike size never share a batch: padding would change what convolutions see at the
    border, and so the maps. The more rows there are to choose from, the fuller the batches.

    Args:
        rows: Name, encoded image, its size and labels.
        net: Images to logit maps, in evaluation mode.
        num_classes: Of the network.
        cams: Scales, activation and resolution.
        max_pixels: Largest image that is decoded.
        max_images: Largest batch.

    Returns:
        One row per image, in their order.
    """
    made: dict[int, CamRow] = {}
    for batch in equal_sizes([(row["height"], row["width"]) for row in rows], max_images):
        maps = _predict([rows[i] for i in batch], net, num_classes, cams, max_pixels)
        made |= zip(batch, maps, strict=True)
    return [made[i] for i in range(len(rows))]


def equal_sizes(sizes: Sequence[tuple[int, int]], max_images: int) -> Iterator[list[int]]:
    """Positions of the images of each size, in batches of at most `max_images`."""
    groups: dict[tuple[int, int], list[int]] = {}
    for position, size in enumerate(sizes):
        groups.setdefault(size, []).append(position)
    for group in groups.values():
        for start in range(0, len(group), max_images):
            yield group[start : start + max_images]


def _predict(
    rows: Sequence[ImageRow], net: nn.Module, num_classes: int, cams: Cams, max_pixels: int
) -> list[CamRow]:
    """CAMs of images of one size, as one batch."""
    pixels = [normalise(decode(row["image"], max_pixels=max_pixels)) for row in rows]
    labels = torch.zeros(len(rows), num_classes)
    for position, row in enumerate(rows):
        labels[position, row["labels"] or []] = 1
    device = next(net.parameters()).device
    maps = multiscale_cams(
        net,
        torch.from_numpy(np.stack(pixels)).to(device),
        labels.to(device),
        scales=cams.scales,
        activation=cams.activation,
        resolution=cams.resolution,
    )
    split = maps[:, 0].half().cpu().split([len(row["labels"] or ()) for row in rows])
    return [_row(row, own) for row, own in zip(rows, split, strict=True)]


def _row(row: ImageRow, maps: Tensor) -> CamRow:
    return CamRow(
        name=row["name"],
        height=row["height"],
        width=row["width"],
        classes=row["labels"] or [],
        cam=maps.numpy().tobytes(),
        cam_height=maps.shape[1],
        cam_width=maps.shape[2],
    )
