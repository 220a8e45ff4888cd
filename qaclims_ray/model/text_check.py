"""Whether CLIP tells the regions of images by their texts, before anything is trained on it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.regions import Pairs, region_views
from qaclims_ray.model.shapes import Features, Images


class RegionFeatures(NamedTuple):
    """L2-normalised CLIP features of the two regions of each CAM."""

    inside: Features
    outside: Features


@torch.no_grad()
def region_features(
    clip: MaskPromptedClip, image: Images, cams: Float[Tensor, "P h w"], *, alpha: float
) -> RegionFeatures:
    """Encode the inside and the outside of an image's CAMs, as region image-text contrast does.

    Args:
        clip: A frozen CLIP.
        image: One image, normalised as CLIP shall see it.
        cams: Values in [0, 1].
        alpha: Share of a CAM's maximum where its foreground region begins.
    """
    labels = torch.arange(len(cams), device=cams.device)
    pairs = Pairs(torch.zeros_like(labels), labels)
    regions = region_views(cams[None], image, pairs, clip.image_size, alpha)
    views = torch.cat([regions.foreground, regions.background])
    masks = torch.cat([regions.foreground_mask, regions.background_mask])
    return RegionFeatures(*F.normalize(clip.encode_regions(views, masks), dim=-1).chunk(2))


def told_apart(
    regions: RegionFeatures, classes: Features, backgrounds: Float[Tensor, "L D"]
) -> Bool[Tensor, "P"]:
    """Whether the texts of each CAM tell its inside from its outside; by chance, half do.

    They do where the similarity to the class's text, less the mean similarity to the background
    texts, is greater for the inside.

    Args:
        regions: Of the CAMs of one image.
        classes: Text feature of each class.
        backgrounds: Features of at least one background text.
    """
    texts = F.normalize(classes, dim=-1) - F.normalize(backgrounds, dim=-1).mean(dim=0)
    return ((regions.inside - regions.outside) * texts).sum(dim=1) > 0


def text_distances(classes: Features, backgrounds: Float[Tensor, "L D"]) -> Float[Tensor, "P"]:
    """1 less the mean cosine similarity of each class's text and the background texts."""
    classes, backgrounds = F.normalize(classes, dim=-1), F.normalize(backgrounds, dim=-1)
    return 1 - (classes @ backgrounds.mT).mean(dim=1)


def ranking(scores: Float[Tensor, "N"], shown: Bool[Tensor, "N"]) -> float | None:
    """Probability that a region of a class scores higher than one of another (area under the ROC).

    1: CLIP knows the class by its name; 0.5: it does not. None without regions of either sort.

    Args:
        scores: Similarity of each region to the class's name.
        shown: Whether the region is of the class.
    """
    differences = scores[shown][:, None] - scores[~shown]
    if not differences.numel():
        return None
    return float((differences > 0).double().add(0.5 * (differences == 0)).mean())
