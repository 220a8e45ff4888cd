"""The terms of region image-text contrast (RITC), and of target CAMs beside it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.shapes import Cams, Features, Labels, Present

MIN_NORM = 1e-8
"""Features shorter than this have no direction: cosine 0 with everything, and no gradient."""


def foreground_contrast(
    regions: Features,
    foreground: Features,
    background: Float[Tensor, "P L D"],
    present: Present,
    temperature: float,
) -> Float[Tensor, "P"]:
    """FRC of each pair: its foreground region against its texts.

    -log( e^s(F) / (e^s(F) + sum over b of e^s(b)) ), where s is the cosine similarity over the
    temperature (paper, section 3.3; published `clip_loss.py:InfoNCELossFG`).

    Args:
        regions: CLIP features of the foreground views; normalised here.
        foreground: foreground text features F, used as they are.
        background: background text features b, padded to L rows.
        present: False where `background` is padding.
        temperature: positive.

    Returns:
        The loss of each pair, 0 where a pair has no background text.
    """
    to_foreground, to_background = _scores(regions, foreground, background, temperature)
    to_background = to_background.masked_fill(~present, -torch.inf)
    scores = torch.cat([to_foreground[:, None], to_background], dim=1)
    return scores.logsumexp(dim=1) - to_foreground


def background_contrast(
    regions: Features,
    foreground: Features,
    background: Float[Tensor, "P L D"],
    present: Present,
    temperature: float,
) -> Float[Tensor, "P"]:
    """BRC of each pair: its background region against its texts.

    -log( m / (m + e^s(F)) ) with m the mean over b of e^s(b) (published
    `clip_loss.py:InfoNCELossBG`; a mean, where FRC has a sum).

    Args:
        regions: CLIP features of the background views; normalised here.
        foreground: as for `foreground_contrast`.
        background: as for `foreground_contrast`.
        present: as for `foreground_contrast`.
        temperature: as for `foreground_contrast`.

    Returns:
        The loss of each pair, 0 where a pair has no background text.
    """
    to_foreground, to_background = _scores(regions, foreground, background, temperature)
    counted = present.any(dim=1)
    # Rows that are all padding stay finite here, for the gradient's sake, and are dropped below.
    used = present | ~counted[:, None]
    log_sum = to_background.masked_fill(~used, -torch.inf).logsumexp(dim=1)
    log_mean = log_sum - present.sum(dim=1).clamp(min=1).log()
    return F.softplus(to_foreground - log_mean).where(counted, 0.0)


def area(cams: Cams) -> Float[Tensor, ""]:
    """REG: the mean over all classes and cells, present or not."""
    return cams.float().mean()


def _scores(
    regions: Features, foreground: Features, background: Float[Tensor, "P L D"], temperature: float
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P L"]]:
    """Similarities of each region to its foreground text and to its background texts."""
    regions = regions.float()
    norm = regions.norm(dim=1, keepdim=True)
    unit = torch.where(norm > MIN_NORM, regions / norm.clamp(min=MIN_NORM), 0.0) / temperature
    to_foreground = (unit * foreground.float()).sum(dim=1)
    to_background = (background.float() * unit[:, None]).sum(dim=2)
    return to_foreground, to_background


def cam_cross_entropy(
    logits: Cams, targets: Float[Tensor, "B C _ _"], labels: Labels
) -> Float[Tensor, ""]:
    """Compute the binary cross entropy between CAMs and target CAMs, averaged over pairs and cells.

    Args:
        logits: before the sigmoid.
        targets: values in [0, 1], at any resolution; averaged or repeated over the cells.
        labels: image-level labels; maps of other classes do not count.

    Returns:
        The loss, 0 where no image has a label; it depends on the logits even then.
    """
    height, width = logits.shape[2:]
    cells = F.adaptive_avg_pool2d(targets, (height, width))
    losses = F.binary_cross_entropy_with_logits(logits.float(), cells, reduction="none")
    counted = losses.mean(dim=(2, 3)) * labels
    return counted.sum() / labels.sum().clamp(min=1)
