"""Region image-text contrast (RITC): the training of QA-CLIMS's CAM network."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.losses import area, background_contrast, foreground_contrast
from qaclims_ray.model.regions import region_views, renormalise, select_pairs
from qaclims_ray.model.texts import PairFeatures
from qaclims_ray.types import Cams, Images, Labels

Scalar = Float[Tensor, ""]


class LossWeights(NamedTuple):
    """Weights of the three terms; the defaults are the paper's for VOC 2012 (COCO: 30, 24, 0.2)."""

    foreground: float = 10.0
    background: float = 8.0
    area: float = 0.2


VOC_WEIGHTS = LossWeights()


class RitcLosses(NamedTuple):
    """The loss of a batch, its terms before weighting, and what to log beside them."""

    total: Scalar
    """The weighted sum, the one term with a gradient."""
    foreground: Scalar
    """FRC, summed over pairs and divided by the divisor."""
    background: Scalar
    """BRC, likewise."""
    area: Scalar
    """REG, in [0, 1]."""
    num_pairs: Scalar
    """Pairs with a background text, the ones that count."""
    max_logit: Scalar
    """Largest logit; a sigmoid far above 5 is saturated and learns slowly."""


def ritc_losses(
    logits: Cams,
    images: Images,
    labels: Labels,
    texts: PairFeatures,
    clip: MaskPromptedClip,
    *,
    weights: LossWeights = VOC_WEIGHTS,
    temperature: float = 0.7,
    alpha: float = 0.1,
    divisor: float | Float[Tensor, ""] = 1.0,
    clip_normalisation: Literal["imagenet", "clip"] = "imagenet",
) -> RitcLosses:
    """Loss of one batch (published `step/train_qa_clims.py`).

    A batch without pairs, or whose pairs all lack background texts, has a contrastive loss of 0;
    the total still depends on the logits, so that all workers run the same collectives.

    Args:
        logits: of the CAM network, before the sigmoid.
        images: the network's input, normalised with ImageNet's mean and standard deviation.
        labels: image-level labels.
        texts: text features of the pairs, in the order of `select_pairs(labels)`.
        clip: frozen; gradients flow through it to the CAMs.
        weights: of the three terms.
        temperature: divides the cosine similarities.
        alpha: share of a CAM's maximum where its foreground mask begins.
        divisor: of FRC and BRC; 0 counts as 1. Published: 1, sums over the local batch, which make
            the step grow with the number of objects in it. For the mean over the pairs of several
            batches whose gradients are averaged: how many pairs count in a batch on average.
        clip_normalisation: what the views are normalised with. `clip` is what CLIP was trained on;
            published: `imagenet`, as the images come.
    """
    if clip_normalisation == "clip":
        images = renormalise(images, clip.image_mean, clip.image_std)
    cams = logits.float().sigmoid()
    contrasts = region_contrasts(
        cams, images, labels, texts, clip, temperature=temperature, alpha=alpha
    )
    num_pairs = texts.present.any(dim=1).sum().to(cams.dtype)
    scale = torch.as_tensor(divisor, dtype=cams.dtype, device=cams.device)
    frc, brc = (values.sum() / scale.where(scale > 0, 1.0) for values in contrasts)
    reg = area(cams)
    total = weights.foreground * frc + weights.background * brc + weights.area * reg
    terms = (frc.detach(), brc.detach(), reg.detach())
    return RitcLosses(total, *terms, num_pairs, logits.detach().float().amax())


def region_contrasts(
    cams: Cams,
    images: Images,
    labels: Labels,
    texts: PairFeatures,
    clip: MaskPromptedClip,
    *,
    temperature: float,
    alpha: float,
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"]]:
    """FRC and BRC of each pair, by one CLIP forward over both views of all pairs.

    Args:
        cams: values in [0, 1].
        images: normalised as CLIP shall see them.
        labels: as for `ritc_losses`, and so are the rest.
        texts: likewise.
        clip: likewise.
        temperature: likewise.
        alpha: likewise.
    """
    regions = region_views(cams, images, select_pairs(labels), clip.image_size, alpha)
    views = torch.cat([regions.foreground, regions.background])
    masks = torch.cat([regions.foreground_mask, regions.background_mask])
    inside, outside = clip.encode_regions(views, masks).chunk(2)
    frc = foreground_contrast(inside, *texts, temperature)
    brc = background_contrast(outside, *texts, temperature)
    return frc, brc
