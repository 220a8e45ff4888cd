"""Random soft regions of images of the demo world, as CAMs make them during training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from qaclims_ray.demo.world import SIZE, Example

Content = UInt8[Tensor, "B H W"]
"""What each pixel shows: 0 and 1 the objects, 2 the upper stuff, 3 the lower stuff."""
_NUM_CONTENTS = 4


class Regions(NamedTuple):
    """Soft regions as CAMs make them during training."""

    soft: Float[Tensor, "B 1 H W"]
    """What the image is multiplied with, in [0, 1]."""
    mask: Float[Tensor, "B 1 H W"]
    """1 where CLIP is to look."""
    weights: Float[Tensor, "B 4"]
    """How much of each content the region shows."""
    brightness: Float[Tensor, "B"]
    """Largest possible value of `soft`."""


def stack_contents(examples: Sequence[Example]) -> Content:
    """The content of each pixel of each image."""
    is_top = np.stack([example.is_top for example in examples])
    contents = np.where(is_top, np.uint8(2), np.uint8(3))
    for content, example in zip(contents, examples, strict=True):
        for number, item in enumerate(example.objects):
            content[item.visible] = number
    return torch.from_numpy(contents)


def draw_regions(content: Content) -> Regions:
    """One random soft region for each image."""
    num = len(content)
    shows = F.one_hot(content.long(), _NUM_CONTENTS).movedim(-1, 1).float()
    shapes = _draw_shapes(shows)
    odds = torch.tensor([0.25, 0.10, 0.25, 0.10, 0.10, 0.08, 0.07, 0.05])
    soft = shapes[torch.arange(num), torch.multinomial(odds, num, replacement=True)]
    floor = 0.6 * torch.rand(num, 1, 1, 1) * _coin(num, 0.6)
    soft = floor + (1 - floor) * soft
    brightness = torch.where(_coin(num, 0.3) > 0, 1.0, 0.15 + 0.85 * torch.rand(num, 1, 1, 1))
    mask = (soft >= 0.1 * soft.amax(dim=(2, 3), keepdim=True)).float()
    mask = torch.maximum(mask, _coin(num, 0.15))
    weights = (shows * soft.square() * mask).sum(dim=(2, 3))
    return Regions(soft * brightness, mask, weights, brightness.flatten())


def _draw_shapes(shows: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B 8 1 H W"]:
    """The eight shapes that a region may have, for each image."""
    images = torch.arange(len(shows))
    second = (shows[:, 1].sum(dim=(1, 2)) > 0) & (torch.rand(len(shows)) < 0.5)
    item = shows[images, second.long()][:, None]
    stuff = shows[images, torch.randint(2, 4, (len(shows),))][:, None]
    objects = shows[:, :2].sum(dim=1, keepdim=True)
    rough = torch.where(_coin(len(shows), 0.3) > 0, item, _blurred(item))
    blob = _draw_blobs(len(shows))
    shapes = [
        rough,
        rough * blob,
        1 - rough,
        stuff * (1 - 0.9 * blob * objects),
        blob,
        1 - rough * blob,
        torch.maximum(rough, blob),
        torch.ones_like(rough),
    ]
    return torch.stack(shapes, dim=1)


def _coin(num: int, chance: float) -> Float[Tensor, "B 1 1 1"]:
    return (torch.rand(num, 1, 1, 1) < chance).float()


def _blurred(item: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """The object at the resolution of a CAM, grown or shrunk at random."""
    kernel = int(torch.randint(3, ()).item()) * 2 + 1
    coarse = F.avg_pool2d(item, 4)
    for _ in range(2):
        coarse = F.avg_pool2d(coarse, kernel, stride=1, padding=kernel // 2)
    gain = 0.8 + 3.2 * torch.rand(len(item), 1, 1, 1)
    return F.interpolate((coarse * gain).clamp(0, 1), size=(SIZE, SIZE), mode="bilinear")


def _draw_blobs(num: int) -> Float[Tensor, "B 1 96 96"]:
    cells = (3, 4, 6, 8)[int(torch.randint(4, ()).item())]
    contrast = 2.0 ** int(torch.randint(1, 4, ()).item())
    coarse = torch.randn(num, 1, cells, cells)
    smooth = F.interpolate(coarse, size=(24, 24), mode="bicubic", align_corners=True)
    soft = torch.sigmoid(smooth * contrast + 1.5 * torch.randn(num, 1, 1, 1))
    return F.interpolate(soft, size=(SIZE, SIZE), mode="bilinear")
