"""From CAMs to the foreground and background views that CLIP judges."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.shapes import Cams, Images, Indices, Labels, Masks
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD


class Pairs(NamedTuple):
    """The pairs (image, class) that labels name, ordered by image and then by class."""

    image: Indices
    label: Indices


class Regions(NamedTuple):
    """What CLIP sees of each pair: two views of its image and their binary masks."""

    foreground: Float[Tensor, "P 3 H W"]
    background: Float[Tensor, "P 3 H W"]
    foreground_mask: Masks
    background_mask: Masks


def select_pairs(labels: Labels, num_pairs: int | None = None) -> Pairs:
    """The pairs where `labels` is not 0.

    Args:
        labels: Image-level labels.
        num_pairs: How many there are; without it the device has to tell, and is waited for.
    """
    if num_pairs is None:
        return Pairs(*torch.nonzero(labels, as_tuple=True))
    named = (labels != 0).flatten()
    places = named.byte().argsort(descending=True, stable=True)[:num_pairs]
    return Pairs(places // labels.shape[1], places % labels.shape[1])


def threshold_masks(cams: Float[Tensor, "P 1 H W"], alpha: float) -> Masks:
    """1 where a map reaches `alpha` times its own maximum, ties included, else 0; no gradient.

    An all-zero map gives an all-one mask (published `net/mask_adapter.py`).
    """
    cams = cams.detach()
    return (cams >= alpha * cams.amax(dim=(2, 3), keepdim=True)).to(cams.dtype)


def region_views(cams: Cams, images: Images, pairs: Pairs, size: int, alpha: float) -> Regions:
    """Views of the foreground, cam * image, and of the background, (1 - cam) * image, of each pair.

    Published `step/train_qa_clims.py`: CAMs and images are resized (bilinear, corners aligned)
    and the masks are taken of the resized CAMs.

    Args:
        cams: values in [0, 1].
        images: normalised images, so that 0 is the mean colour.
        pairs: of `select_pairs`.
        size: side of the views in pixels, CLIP's `image_size`.
        alpha: share of a CAM's maximum where its foreground mask begins.
    """
    cam = _resize(cams[pairs.image, pairs.label][:, None], size)
    image = _resize(images, size)[pairs.image]
    mask = threshold_masks(cam, alpha)
    return Regions(cam * image, (1 - cam) * image, mask, 1 - mask)


def renormalise(images: Images, mean: Sequence[float], std: Sequence[float]) -> Images:
    """Images normalised with ImageNet's mean and standard deviation, normalised with others."""
    old_mean, old_std, new_mean, new_std = (
        images.new_tensor(values)[:, None, None]
        for values in (IMAGENET_MEAN, IMAGENET_STD, mean, std)
    )
    return (images * old_std + (old_mean - new_mean)) / new_std


def _resize(maps: Float[Tensor, "N X h w"], size: int) -> Float[Tensor, "N X {size} {size}"]:
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=True)
