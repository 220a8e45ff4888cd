"""Which text features each pair (image, class) is contrasted with."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from qaclims_ray.model.shapes import Features, Indices, Present


class TextFeatures(NamedTuple):
    """Features of the texts that a CLIP contrasts within one image, of any length."""

    classes: Float[Tensor, "_ D"]
    backgrounds: Float[Tensor, "_ D"]


class PairTexts(NamedTuple):
    """Rows of a table of text features for each pair; -1 is padding."""

    label: Indices
    """The class name."""
    foreground: Int[Tensor, "P Q"]
    """Foreground prompts. An answer that was given twice is there twice."""
    background: Int[Tensor, "P L"]
    """Unique background answers without the class name; a pair may have none."""


class PairFeatures(NamedTuple):
    """Text features of each pair."""

    foreground: Features
    background: Float[Tensor, "P L D"]
    present: Present
    """False where `background` is padding."""


def pair_features(text_features: Float[Tensor, "N D"], texts: PairTexts) -> PairFeatures:
    """The text features that the losses use."""
    foreground = foreground_features(text_features, texts.label, texts.foreground)
    return PairFeatures(foreground, *background_features(text_features, texts.background))


def foreground_features(
    text_features: Float[Tensor, "N D"], label: Indices, foreground: Int[Tensor, "P Q"]
) -> Features:
    """Half the class name's feature and half the mean of its prompts', not normalised again.

    Published `net/vqa_fg.py`. A pair without prompts has the class name's feature (as CLIMS).

    Args:
        text_features: L2-normalised text features.
        label: rows of the class names.
        foreground: rows of the prompts, -1 for padding.
    """
    name = text_features[label]
    prompts, present = _gather(text_features, foreground)
    num_prompts = present.sum(dim=1, keepdim=True)
    mean = prompts.sum(dim=1) / num_prompts.clamp(min=1)
    return (name + torch.where(num_prompts > 0, mean, name)) / 2


def background_features(
    text_features: Float[Tensor, "N D"], background: Int[Tensor, "P L"]
) -> tuple[Float[Tensor, "P L D"], Present]:
    """Features of each pair's background texts, 0 for padding, and where they are no padding.

    Args:
        text_features: L2-normalised text features.
        background: rows of the texts, -1 for padding.
    """
    return _gather(text_features, background)


def _gather(
    text_features: Float[Tensor, "N D"], rows: Int[Tensor, "P L"]
) -> tuple[Float[Tensor, "P L D"], Present]:
    present = rows >= 0
    return text_features[rows.clamp(min=0)] * present[..., None], present
