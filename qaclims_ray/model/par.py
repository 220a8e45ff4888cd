"""Pixel-adaptive refinement: scores spread to neighbours of like colour.

PAR: Ru et al., "Learning Affinity from Attention" (AFA, CVPR 2022); ToCo and WeCLIP use the same.
PAMR, its forerunner: Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels"
(CVPR 2020).

Each pixel has 8 neighbours per dilation d: those d rows, d columns, or both away. Beyond its edges
the image goes on with its border pixels. Neighbours are shifted views of the padded image, and are
gone through one at a time: memory holds one weight per neighbour and pixel, whatever the number of
scores.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)
"""The published dilations, in pixels."""
COLOUR_WIDTH = 0.3
"""Width of PAR's kernels, as a multiple of the standard deviation over the neighbours."""
PAMR_WIDTH = 0.1
"""The same for PAMR."""
POSITION_WEIGHT = 0.01
"""What the nearness of neighbours weighs beside their colour."""
EPSILON = 1e-8
"""Added to standard deviations, which divide."""

Affinity = Callable[[Float[Tensor, "B 3 H W"], Sequence[int]], Float[Tensor, "B n H W"]]
"""Images, float32 or wider, and dilations to the weight of each neighbour."""


def par_affinity(
    images: Float[Tensor, "B 3 H W"], dilations: Sequence[int] = DILATIONS
) -> Float[Tensor, "B n H W"]:
    """Weight of each neighbour in PAR: a softmax over colours and 0.01 of one over distances.

    Both softmaxes are over all neighbours of all dilations, of minus the squared difference in
    units of 0.3 standard deviations over the neighbours; colours average this over the channels.
    For the order of neighbours see `offsets`.
    """
    around = neighbours(images, dilations)
    scale = 1 / (COLOUR_WIDTH * (_deviation(around) + EPSILON))
    distances = [(each - images).mul_(scale).square_().mean(dim=1) for each in around]
    colour = torch.stack(distances, dim=1).neg_().softmax(dim=1)
    return colour.add_(position_weights(dilations).to(colour)[:, None, None])


def pamr_affinity(
    images: Float[Tensor, "B 3 H W"], dilations: Sequence[int] = DILATIONS
) -> Float[Tensor, "B n H W"]:
    """Weight of each neighbour in PAMR: a softmax over colours.

    It is of minus the absolute difference in units of 0.1 standard deviations, averaged over the
    channels. The deviation counts the centre as well, once per dilation.
    """
    around = neighbours(images, dilations)
    scale = 1 / (PAMR_WIDTH * _deviation([*around, *[images] * len(dilations)]) + EPSILON)
    distances = [(each - images).mul_(scale).abs_().mean(dim=1) for each in around]
    return torch.stack(distances, dim=1).neg_().softmax(dim=1)


@torch.no_grad()
def refine_scores(
    images: Float[Tensor, "B 3 _ _"],
    scores: Float[Tensor, "B K _ _"],
    *,
    num_steps: int = 10,
    dilations: Sequence[int] = DILATIONS,
    size: Literal["images", "scores"] = "images",
    affinity: Affinity = par_affinity,
) -> Float[Tensor, "B K H W"]:
    """Spread the scores to pixels of like colour, `num_steps` times.

    A step replaces each score by the weighted sum over the pixel's neighbours; its own old score
    has no weight. The weights are computed once from the images. PAR's sum to 1.01, so that scores
    grow by 1 % a step, which an argmax does not notice but a threshold does.

    Args:
        images: RGB of any scale: a factor and an offset per channel change nothing.
        scores: Any number of maps, each refined on its own.
        num_steps: Published are 10 (ToCo, AFA on VOC, PAMR), 15 (AFA on COCO) and 20 (WeCLIP).
        dilations: Distances of the neighbours in pixels.
        size: Of the result where the two differ: "images" resizes the scores (ToCo, AFA, PAMR),
            "scores" the images (WeCLIP), both bilinearly with aligned corners.
        affinity: `par_affinity` or `pamr_affinity`.

    Returns:
        Scores of the type that came in; half types are summed in float32.
    """
    images, maps = _at_least_float32(images), _at_least_float32(scores)
    if size == "images":
        maps = _resize(maps, images.shape[2:])
    else:
        images = _resize(images, maps.shape[2:])
    return spread(maps, affinity(images, dilations), num_steps, dilations).to(scores.dtype)


def position_weights(dilations: Sequence[int]) -> Float[Tensor, "n"]:
    """The part of PAR's weights that depends on distance alone; it sums to 0.01."""
    distance = torch.tensor([math.hypot(*offset) for offset in offsets(dilations)]).double()
    width = COLOUR_WIDTH * (distance.std() + EPSILON)
    return POSITION_WEIGHT * (distance / width).square().neg().softmax(dim=0)


def spread(
    scores: Float[Tensor, "B K H W"],
    weights: Float[Tensor, "B n H W"],
    num_steps: int,
    dilations: Sequence[int] = DILATIONS,
) -> Float[Tensor, "B K H W"]:
    """Replace each score by the weighted sum over its neighbours, `num_steps` times."""
    for _ in range(num_steps):
        around, scores = neighbours(scores, dilations), torch.zeros_like(scores)
        for weight, each in zip(weights.unbind(dim=1), around, strict=True):
            scores.addcmul_(weight[:, None], each)
    return scores


def neighbours(
    grid: Shaped[Tensor, "B K H W"], dilations: Sequence[int]
) -> list[Shaped[Tensor, "B K H W"]]:
    """What lies at each of the `offsets` of each pixel, as views of one padded copy."""
    margin = max(dilations)
    padded = F.pad(grid, (margin, margin, margin, margin), mode="replicate")
    height, width = grid.shape[2:]
    return [
        padded[:, :, margin + y : margin + y + height, margin + x : margin + x + width]
        for y, x in offsets(dilations)
    ]


def offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """(y, x) of the neighbours in pixels: one dilation after another, each row by row."""
    sides = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return [(y * dilation, x * dilation) for dilation in dilations for y, x in sides]


def _deviation(samples: Sequence[Float[Tensor, "B 3 H W"]]) -> Float[Tensor, "B 3 H W"]:
    """Unbiased standard deviation over the samples, which are never stacked."""
    mean, squares = torch.zeros_like(samples[0]), torch.zeros_like(samples[0])
    for sample in samples:
        mean.add_(sample, alpha=1 / len(samples))
    for sample in samples:
        squares.add_((sample - mean).square_())
    return squares.div_(len(samples) - 1).sqrt_()


def _resize(maps: Float[Tensor, "B K _ _"], size: Sequence[int]) -> Float[Tensor, "B K H W"]:
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


def _at_least_float32(values: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    return values.to(torch.promote_types(values.dtype, torch.float32))
