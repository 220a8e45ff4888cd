"""From CAMs and boundaries to pseudo masks, by the random walk."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from qaclims_ray.model.affinity import random_walk
from qaclims_ray.types import BACKGROUND, LabelMap


def walk_cams(
    cams: Sequence[Float[Tensor, "_ h w"]],
    edges: Float[Tensor, "B h w"],
    *,
    radius: int,
    beta: float,
    exp_times: int,
) -> list[Float[Tensor, "_ h w"]]:
    """Let the CAMs of images with equally many cells walk at once (`step/make_sem_seg_labels.py`).

    GPUs want that; on a CPU one image after another takes no longer.

    Args:
        cams: Per image, one normalised map per class, at stride 4.
        edges: Boundary probabilities in [0, 1], at the same stride.
        radius: See `random_walk`.
        beta: See `random_walk`.
        exp_times: See `random_walk`.

    Returns:
        Scores of each image, of which `scores_to_mask` makes its pseudo mask.
    """
    padded = pad_sequence(list(cams), batch_first=True)  # by maps of zeros
    scores = random_walk(padded, edges, radius=radius, beta=beta, exp_times=exp_times)
    return [own[: len(each)] for own, each in zip(scores, cams, strict=True)]


def scores_to_mask(
    scores: Float[Tensor, "N h w"],
    classes: Sequence[int],
    size: tuple[int, int],
    background: float,
    stride: int = 4,
) -> LabelMap:
    """Give each pixel class index + 1 of its largest score, 0 where none exceeds `background`.

    `background` is 0.2 in CLIMS and QA-CLIMS, 0.25 in the original IRN.
    Scores, at `stride` pixels per cell, are resized to `size`, then divided by the largest of the
    image, all classes together. Without any class, or any score above 0, all is background (the
    published code takes the first class, or fails).
    """
    height, width = size
    if not classes:
        return np.full(size, BACKGROUND, dtype=np.uint8)
    full = F.interpolate(scores[None], scale_factor=stride, mode="bilinear")[0, :, :height, :width]
    full = full / full.max().clamp_min(torch.finfo(full.dtype).tiny)
    winners = F.pad(full, (0, 0, 0, 0, 1, 0), value=background).argmax(0)
    values = winners.new_tensor([BACKGROUND, *(index + 1 for index in classes)])
    return values[winners].byte().cpu().numpy()
