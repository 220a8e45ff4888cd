"""Prompts about one image: what they start with alike, and what follows."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Tokens: TypeAlias = list[int]


class Prompts(NamedTuple):
    """Token ids of prompts about one image: a common start, image included, and what follows."""

    head: Tokens
    tails: list[Tokens]


def split_prompts(short: Sequence[Tokens], full: Tokens, image_token: int) -> Prompts:
    """Split prompts about one image into their common start and their ends.

    Args:
        short: Token ids of each prompt with one placeholder for the image.
        full: Token ids of the first prompt as the network gets them, the placeholder written out.
        image_token: The placeholder.

    Raises:
        ValueError: the prompts differ before the end of the image, or hold more than one.
    """
    end = short[0].index(image_token) + 1
    tails = [ids[end:] for ids in short]
    shared = len(full) - len(tails[0])
    if (
        any(ids[:end] != short[0][:end] for ids in short)
        or any(image_token in tail for tail in tails)
        or full[shared:] != tails[0]
    ):
        raise ValueError("the prompts share no start that ends behind their image")
    return Prompts(full[:shared], tails)
