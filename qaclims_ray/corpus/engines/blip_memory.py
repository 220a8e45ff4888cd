"""How many question tokens BLIP takes at once, by the memory of its device."""

from collections.abc import Callable
from functools import partial

import torch

from qaclims_ray.model.blip import Blip, generate

USUAL = 2048
"""Question tokens at once on a CPU, where more are no faster."""
_FEWEST, _MOST = 256, 2**16
_SHORT = 4
"""Tokens of the shortest question, [ENC] and [SEP] included: the shorter questions are, the more
beams a budget holds."""


def token_budget(model: Blip, gpu_share: float, **beams: int) -> int:
    """Return how many question tokens should be encoded, or decoded, at once.

    On a CPU `USUAL`. On a GPU, tried out: as many as half of the memory that is free allows, the
    other half being for images; see `largest_budget`.

    Args:
        model: On its device, and gone through `model.blip.prepare`.
        gpu_share: Share of the GPU's memory that is this process's.
        beams: As for `model.blip.generate`.
    """
    if model.device.type != "cuda":
        return USUAL
    free, whole = torch.cuda.mem_get_info(model.device)
    own = whole * gpu_share - torch.cuda.memory_allocated(model.device)
    try:
        return largest_budget(partial(_peak_bytes, model, **beams), min(free, own) / 2)
    finally:
        torch.cuda.empty_cache()  # processes may share the GPU


def largest_budget(peak_bytes: Callable[[int], int], free_bytes: float) -> int:
    """Double a budget as long as four times what it takes is free.

    What questions take grows with the square of a budget at most (the attention among the tokens of
    one image), so that no size that is tried is too large.

    Args:
        peak_bytes: Memory that a budget takes.
        free_bytes: Memory that there is for it.
    """
    budget = _FEWEST
    while budget < _MOST and 4 * peak_bytes(budget) <= free_bytes:
        budget *= 2
    return budget


def fill(model: Blip, budget: int, **beams: int) -> None:
    """Answer as many short questions about one black image as a budget holds.

    Another one is beside it, as a batch of one image would be compiled anew.
    """
    tokens = model.config.text_config
    start, end = tokens.bos_token_id, tokens.sep_token_id
    side: int = model.config.vision_config.image_size
    pixels = torch.zeros(2, 3, side, side, dtype=model.dtype, device=model.device)
    questions = [[start, *[end] * (_SHORT - 1)]] * (budget // _SHORT)
    generate(model, pixels, [questions, []], token_budget=budget, **beams)


def _peak_bytes(model: Blip, budget: int, **beams: int) -> int:
    """Measure what a GPU's memory holds at most while a budget is full."""
    before = torch.cuda.memory_allocated(model.device)
    torch.cuda.reset_peak_memory_stats(model.device)
    fill(model, budget, **beams)
    return torch.cuda.max_memory_allocated(model.device) - before
