"""Class-aware attention affinity: CAMs spread to the patches that attend to each other.

Source: Lin et al., "CLIP is Also an Efficient Segmenter" (CVPR 2023), section 3.3; published code
linyq2117/CLIP-ES, `generate_cams_voc12.py` and `utils.py`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

NUM_ROUNDS = 3
"""Normalisations of columns and then rows."""

PatchMaps = Float[Tensor, "P h w"]
"""Maps one by one, whatever their image and class; a cell is a patch."""


def attention_affinity(attention: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    """Symmetric affinities between patches whose rows sum to about 1.

    Columns and rows of the attention are made to sum to 1 in turn, the result is averaged with its
    transpose and multiplied with itself, so that it spreads two steps far.

    Args:
        attention: weights from patch (row) to patch, not negative.
    """
    for _ in range(NUM_ROUNDS):
        attention = attention / attention.sum(dim=1, keepdim=True)
        attention = attention / attention.sum(dim=2, keepdim=True)
    symmetric = (attention + attention.mT) / 2
    return symmetric @ symmetric


def box_masks(
    cams: PatchMaps, threshold: float, *, published_faults: bool = False
) -> Bool[Tensor, "P h w"]:
    """The bounding boxes of the connected regions where a CAM is strong.

    A region is a set of neighbouring cells, diagonals included, strictly above `threshold` times
    the map's maximum, both in whole 255ths, rounded down. An all-zero map has none.

    Args:
        cams: values in [0, 1].
        threshold: share of the maximum. Published: 0.4 for VOC, 0.7 for COCO.
        published_faults: leave the last row and column out of every box, as CLIP-ES does.
    """
    levels = (cams * 255).to(torch.uint8)
    peaks = levels.flatten(1).amax(dim=1).double()
    above = levels > (threshold * peaks).to(torch.uint8)[:, None, None]
    top, left, bottom, right = _region_bounds(above).flatten(2)[..., None].unbind(dim=1)
    y, x = (torch.arange(side, device=cams.device) for side in cams.shape[1:])
    rows, columns = (y >= top) & (y <= bottom), (x >= left) & (x <= right)
    # A cell lies in a box if some cell of a region has both its row and its column within bounds.
    masks = rows.to(cams.dtype).mT @ columns.to(cams.dtype) > 0
    if published_faults:
        masks[:, -1], masks[:, :, -1] = False, False
    return masks


def refine_cams(
    cams: PatchMaps, affinity: Float[Tensor, "P N N"], masks: Bool[Tensor, "P h w"]
) -> PatchMaps:
    """Each map spread by affinity from the cells inside its mask to all cells; not normalised.

    Args:
        cams: values in [0, 1].
        affinity: `attention_affinity` for the image of each map.
        masks: cells that spread (`box_masks`); all cells receive.
    """
    sources = (cams * masks).flatten(1)[..., None]
    return (affinity @ sources).reshape(cams.shape)


def _region_bounds(above: Bool[Tensor, "P h w"]) -> Float[Tensor, "P 4 h w"]:
    """First row and column and last row and column of each cell's region; inf to -inf elsewhere.

    Each cell takes over the widest bounds among its neighbours until nothing changes: as many steps
    as the longest way through a region has cells.
    """
    y, x = (torch.arange(side, device=above.device).float() for side in above.shape[1:])
    cells = torch.stack(torch.meshgrid(y, x, indexing="ij"))
    outside = ~above[:, None]
    grown = torch.cat([-cells, cells]).expand(len(above), -1, -1, -1)
    grown, bounds = grown.masked_fill(outside, -torch.inf), None
    while bounds is None or not torch.equal(bounds, grown):
        bounds = grown
        grown = F.max_pool2d(bounds, 3, stride=1, padding=1).masked_fill(outside, -torch.inf)
    return torch.cat([-bounds[:, :2], bounds[:, 2:]], dim=1)
