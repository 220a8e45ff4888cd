"""Optimisers and the learning rate's decay."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(
    backbone: Iterable[Tensor],
    head: Iterable[Tensor],
    *,
    kind: Literal["sgd", "adamw"] = "sgd",
    learning_rate: float,
    head_factor: float = 10.0,
    momentum: float = 1e-4,
    weight_decay: float = 1e-4,
) -> torch.optim.Optimizer:
    """An optimiser with two groups: the backbone, and the head at `head_factor` times its rate.

    The published `PolyOptimizer` hands its weight decay to SGD as third positional argument, which
    is the momentum: its real momentum is 1e-4, the default here. 0.9 is the usual choice.

    Args:
        backbone: parameters; frozen ones are left alone.
        head: parameters.
        kind: `sgd`, or `adamw`, which has no use for `momentum`.
        learning_rate: of the backbone.
        head_factor: the head's learning rate in units of the backbone's.
        momentum: of SGD.
        weight_decay: of both groups.
    """
    groups: list[dict[str, Any]] = [
        {"params": list(backbone), "lr": learning_rate, "weight_decay": weight_decay},
        {"params": list(head), "lr": head_factor * learning_rate, "weight_decay": weight_decay},
    ]
    # One kernel for all parameters. On CPUs it would gain nothing.
    fused = all(tensor.is_cuda for group in groups for tensor in group["params"])
    if kind == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, fused=fused)


def poly_decay(optimizer: torch.optim.Optimizer, num_steps: int, power: float = 0.9) -> LambdaLR:
    """Polynomial decay: in step t each rate is its first value times (1 - t / num_steps)^power.

    Steps count from 0. After `num_steps` the rates stay at their last value, which is not 0
    (published `misc/torchutils.py:PolyOptimizer`). Call `step()` after each optimiser step.
    """
    return LambdaLR(optimizer, lambda step: poly_factor(step, num_steps, power))


def poly_factor(step: int, num_steps: int, power: float = 0.9) -> float:
    """The factor of `poly_decay` in a step."""
    return (1 - min(step, num_steps - 1) / num_steps) ** power
