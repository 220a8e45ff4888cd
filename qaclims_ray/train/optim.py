"""Optimisers and the decay of the learning rate."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from qaclims_ray.config.train import Optimiser


class ParameterGroup(NamedTuple):
    """Parameters that share a learning rate."""

    parameters: Iterable[Tensor]
    """Frozen ones among them are left alone."""
    lr_multiplier: float = 1.0
    """Learning rate in units of the training's."""
    weight_decay: float | None = None
    """Weight decay of these parameters; None: the training's."""


def build_optimizer(
    groups: Sequence[ParameterGroup], optimiser: Optimiser
) -> torch.optim.Optimizer:
    """Build an optimiser whose groups have their own learning rates and one weight decay.

    The published `PolyOptimizer` hands its weight decay to SGD as third positional argument, which
    is the momentum: its real momentum is 1e-4, the default of the section. 0.9 is the usual choice.
    """
    rate = optimiser.learning_rate
    made: list[dict[str, Any]] = [
        {
            "params": list(group.parameters),
            "lr": group.lr_multiplier * rate,
            "weight_decay": optimiser.weight_decay
            if group.weight_decay is None
            else group.weight_decay,
        }
        for group in groups
    ]
    # One kernel for all parameters. On CPUs it would gain nothing.
    fused = all(tensor.is_cuda for group in made for tensor in group["params"])
    if optimiser.kind == "adamw":
        return torch.optim.AdamW(made, fused=fused)
    return torch.optim.SGD(made, lr=rate, momentum=optimiser.momentum, fused=fused)


def poly_decay(optimizer: torch.optim.Optimizer, num_steps: int, power: float) -> LambdaLR:
    """Decay each learning rate polynomially: in step t by (1 - t / num_steps)^power.

    Steps count from 0. After `num_steps` the rates stay at their last value, which is not 0
    (published `misc/torchutils.py:PolyOptimizer`). Call `step()` after each optimiser step.
    """
    return LambdaLR(optimizer, lambda step: poly_factor(step, num_steps, power))


def poly_factor(step: int, num_steps: int, power: float) -> float:
    """Return the factor of `poly_decay` in a step."""
    return (1 - min(step, num_steps - 1) / num_steps) ** power
