"""Activation checkpointing: memory for computation."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(parts: Iterable[nn.Module]) -> None:
    """Make parts of a network compute their inner activations again in the backward pass.

    Loss, gradients and the statistics of batch norms are the same as without.

    Args:
        parts: changed in place; their parameters keep their names. Parts without children, such
            as a convolution, have nothing to save and are left as they are.
    """
    for part in parts:
        if next(part.children(), None) is not None:
            part.forward = partial(_run, part, part.forward)


def _run(part: nn.Module, forward: Callable[..., Any], *args: Any) -> Any:
    # Of the first computation, and of the second.
    contexts = nullcontext(), _without_statistics(part)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=lambda: contexts)


@contextmanager
def _without_statistics(part: nn.Module) -> Generator[None]:
    """Batch norms see their batch a second time, and must not count it again."""
    norms = [
        module
        for module in part.modules()
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and module.training
    ]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, counter) in zip(norms, kept, strict=True):
        norm.momentum = 0.0
        norm.num_batches_tracked = None if counter is None else counter.clone()
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter
