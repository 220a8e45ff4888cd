"""CAMs of image rows by one network on one device."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32
from safetensors.torch import load
from torch import Tensor, nn

from qaclims_ray.cams.multiscale import multiscale_cams
from qaclims_ray.data.images import decode, normalise
from qaclims_ray.model.cam_net import CamNet, build_cam_net
from qaclims_ray.sections import Cams
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


def predict_cams(
    rows: Sequence[ImageRow], net: nn.Module, num_classes: int, cams: Cams, max_pixels: int
) -> list[CamRow]:
    """The CAMs of the classes that each image's labels name, images of equal size together.

    Args:
        rows: Name, encoded image and labels.
        net: Images to logit maps, in evaluation mode.
        num_classes: Of the network.
        cams: Scales, activation and resolution.
        max_pixels: Largest image that is decoded.

    Returns:
        One row per image, in their order.
    """
    pixels = [normalise(decode(row["image"], max_pixels=max_pixels)) for row in rows]
    made: dict[int, CamRow] = {}
    for group in _equal_sizes(pixels):
        images = torch.from_numpy(np.stack([pixels[i] for i in group]))
        labels = torch.zeros(len(group), num_classes)
        for position, i in enumerate(group):
            labels[position, rows[i]["labels"]] = 1
        device = next(net.parameters()).device
        maps = multiscale_cams(
            net,
            images.to(device),
            labels.to(device),
            scales=cams.scales,
            activation=cams.activation,
            resolution=cams.resolution,
        )
        counts = [len(rows[i]["labels"]) for i in group]
        for i, own in zip(group, maps[:, 0].half().cpu().split(counts), strict=True):
            made[i] = _row(rows[i], own, pixels[i].shape[1:])
    return [made[i] for i in range(len(rows))]


def _equal_sizes(pixels: Sequence[Float32[np.ndarray, "3 _ _"]]) -> Iterator[list[int]]:
    """Positions of the images of each size."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(pixels):
        groups.setdefault(image.shape, []).append(position)
    yield from groups.values()


def _row(row: ImageRow, maps: Tensor, size: tuple[int, int]) -> CamRow:
    return CamRow(
        name=row["name"],
        height=size[0],
        width=size[1],
        classes=row["labels"],
        cam=maps.numpy().tobytes(),
        cam_height=maps.shape[1],
        cam_width=maps.shape[2],
    )
