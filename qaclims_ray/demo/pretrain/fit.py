"""What the three pretrainings share: drawn examples, normalisation, and the loop of steps."""

import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from qaclims_ray.demo.world import Example, make_example
from qaclims_ray.model.shapes import Images
from qaclims_ray.run.progress import each

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's normalisation, which all three tiny models use: the CAM network's views go to CLIP
as they are."""

Pixels = UInt8[Tensor, "N 3 96 96"]

_log = logging.getLogger(__name__)


def draw_examples(seed: int, num_examples: int, *, biased: bool) -> list[Example]:
    """The first images of the world `seed`."""
    indices = each(range(num_examples), "drawing the world")
    return [make_example(seed, index, biased=biased) for index in indices]


def stack_pixels(examples: Sequence[Example]) -> Pixels:
    """The images as one tensor, channels first."""
    images = np.stack([example.image for example in examples])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def normalise(pixels: UInt8[Tensor, "B 3 H W"]) -> Images:
    """Pixels 0 to 255 as normalised images."""
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (MEAN, STD))
    return (pixels / 255 - mean) / std


def shuffled_batches(rng: random.Random, num_items: int, batch_size: int) -> Iterator[list[int]]:
    """Batches of indices without end; all are shuffled anew once fewer than a batch are left."""
    batch_size = min(batch_size, num_items)
    while True:
        order = rng.sample(range(num_items), num_items)
        for start in range(0, num_items - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def fit(
    net: nn.Module,
    draw_loss: Callable[[], Float[Tensor, ""]],
    *,
    num_steps: int,
    learning_rate: float,
    title: str,
) -> None:
    """Minimise `draw_loss()`, which draws a batch and returns its loss, over `num_steps` steps.

    AdamW (weight decay 0.05 on matrices only), gradient norm clipped to 1, learning rate of
    `learning_rate_at`. `net` is trained in place and ends in evaluation mode.
    """
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    schedule = LambdaLR(optimiser, partial(learning_rate_at, num_steps=num_steps))
    net.train()
    for step in each(range(num_steps), title, unit="step"):
        loss = draw_loss()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            _log.info("%s: step %d of %d, loss %.3f", title, step + 1, num_steps, loss.item())
    net.eval()


def learning_rate_at(step: int, num_steps: int) -> float:
    """Share of the peak learning rate: 5 % of the steps up in a line, then a cosine to zero."""
    warm_up = min(1.0, (step + 1) / max(1, num_steps // 20))
    return warm_up * (1 + math.cos(math.pi * step / num_steps)) / 2
