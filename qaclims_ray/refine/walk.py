"""From CAMs and boundaries to pseudo masks, by the random walk."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from qaclims_ray.model.affinity import random_walk
from qaclims_ray.types import BACKGROUND, LabelMap


def walk_to_mask(
    cams: Float[Tensor, "N h w"],
    edge: Float[Tensor, "h w"],
    classes: Sequence[int],
    size: tuple[int, int],
    *,
    background: float = 0.2,
    radius: int = 5,
    beta: float = 10.0,
    exp_times: int = 8,
) -> LabelMap:
    """The pseudo mask of one image (published `step/make_sem_seg_labels.py`).

    `cams` are normalised, at stride 4, one per entry of `classes` (class indices); `edge` holds
    boundary probabilities at the same stride. `size` is the image's (height, width) in pixels.
    For `radius`, `beta` and `exp_times` see `random_walk`, for `background` `scores_to_mask`.
    """
    if not classes:
        return np.full(size, BACKGROUND, dtype=np.uint8)
    scores = random_walk(cams, edge, radius=radius, beta=beta, exp_times=exp_times)
    return scores_to_mask(scores, classes, size, background)


def scores_to_mask(
    scores: Float[Tensor, "N h w"],
    classes: Sequence[int],
    size: tuple[int, int],
    background: float,
    stride: int = 4,
) -> LabelMap:
    """Class index + 1 of the largest score; 0 where none exceeds `background`.

    Scores, at `stride` pixels per cell, are resized to `size`, then divided by the largest of the
    image, all classes together. Without any score above 0 all is background.
    """
    height, width = size
    full = F.interpolate(scores[None], scale_factor=stride, mode="bilinear")[0, :, :height, :width]
    full = full / full.max().clamp_min(torch.finfo(full.dtype).tiny)
    winners = F.pad(full, (0, 0, 0, 0, 1, 0), value=background).argmax(0)
    values = winners.new_tensor([BACKGROUND, *(index + 1 for index in classes)])
    return values[winners].byte().cpu().numpy()
