"""CAMs of an image from several scales and its mirror image (published `step/make_clims.py`)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.regions import select_pairs
from qaclims_ray.model.shapes import Cams, Images, Labels

SCALES = (1.0, 0.5, 1.5, 2.0)
"""The published scales."""
MAXIMUM_OFFSET = 1e-5
"""Added to the maximum that each map is divided by."""

Maps = Float[Tensor, "N 1 _ _"]
"""Maps one by one, whatever their image and class."""
Activation = Literal["relu", "sigmoid"]
Resolution = Literal["strided", "full"]
Resize = Literal["uint8", "normalised"]
"""What is resized to other scales: pixels of 8 bits, or the network's normalised input."""


@torch.no_grad()
def multiscale_cams(
    net: Callable[[Images], Cams],
    images: Images,
    labels: Labels,
    *,
    scales: Sequence[float] = SCALES,
    activation: Activation = "relu",
    resolution: Resolution = "strided",
) -> Float[Tensor, "P 1 h w"]:
    """CAMs of the pairs of equally sized images: fused over scales and flips, and normalised.

    `cams.split(labels.count_nonzero(dim=1).tolist())` are the maps of each image.

    Args:
        net: images to logit maps, in evaluation mode.
        images: normalised; all of one size.
        labels: image-level labels; only the maps of the classes that they name are made.
        scales: factors on height and width.
        activation: on the logits of each scale. Published: relu, though training uses a sigmoid.
        resolution: of the result, see `fuse_scales`.

    Returns:
        Maps in [0, 1), in the order of `select_pairs(labels)`.
    """
    scaled = (resize_images(images, scale) for scale in scales)
    height, width = images.shape[2:]
    return cams_of_scales(net, scaled, labels, (height, width), activation, resolution)


@torch.no_grad()
def cams_of_scales(
    net: Callable[[Images], Cams],
    scaled: Iterable[Float[Tensor, "B 3 _ _"]],
    labels: Labels,
    size: tuple[int, int],
    activation: Activation = "relu",
    resolution: Resolution = "strided",
) -> Float[Tensor, "P 1 h w"]:
    """Make the maps of `multiscale_cams` of images that are at hand in each scale.

    Args:
        net: images to logit maps, in evaluation mode.
        scaled: the normalised images once for each scale.
        labels: image-level labels.
        size: height and width of the images in pixels.
        activation: see `multiscale_cams`.
        resolution: see `fuse_scales`.
    """
    pairs = select_pairs(labels)
    maps = [flipped_pair(net, one, activation)[pairs.image, pairs.label][:, None] for one in scaled]
    return normalise_cams(fuse_scales(maps, *size, resolution))


def resize_images(images: Images, scale: float) -> Float[Tensor, "B 3 _ _"]:
    """Resize images to height and width times `scale`, rounded (half to even), at least 1 pixel.

    Bicubic with antialiasing, as the published pillow resize, but not rounded and clamped to 8
    bits: at hard edges values overshoot. `images.transforms.rescale` does just that.
    """
    height, width = images.shape[2:]
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size == (height, width):
        return images
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)


def flipped_pair(net: Callable[[Images], Cams], images: Images, activation: Activation) -> Cams:
    """Activated maps of the images plus those of their mirror images, mirrored back."""
    act = torch.relu if activation == "relu" else torch.sigmoid
    maps, mirrored = act(net(torch.cat([images, images.flip(-1)])).float()).chunk(2)
    return maps + mirrored.flip(-1)


def fuse_scales(
    maps: Sequence[Maps], height: int, width: int, resolution: Resolution = "strided"
) -> Maps:
    """The sum of each map over all scales, resized bilinearly to one size.

    `strided`: (side - 1) // 4 + 1 cells. `full`: the next multiple of 16, then cropped to the
    image, which differs from a plain resize.

    Args:
        maps: activated maps of each scale.
        height: of the image in pixels.
        width: of the image in pixels.
        resolution: of the result.
    """
    if resolution == "strided":
        return _resized_sum(maps, (height - 1) // 4 + 1, (width - 1) // 4 + 1)
    return _resized_sum(maps, _ceil16(height), _ceil16(width))[:, :, :height, :width]


def normalise_cams(cams: Maps) -> Maps:
    """Each map divided by its own maximum plus 1e-5; a map of zeros stays one."""
    return cams / (cams.amax(dim=(2, 3), keepdim=True) + MAXIMUM_OFFSET)


def _resized_sum(maps: Sequence[Maps], height: int, width: int) -> Maps:
    size = (height, width)
    resized = [F.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps]
    return torch.stack(resized).sum(dim=0)


def _ceil16(side: int) -> int:
    return -(-side // 16) * 16
