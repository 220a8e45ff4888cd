"""Encode texts with CLIP, each unique text once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.clip import MaskPromptedClip


@torch.no_grad()
def embed_texts(
    clip: MaskPromptedClip, texts: Sequence[str], *, template: str, batch_size: int
) -> Float[Tensor, "L D"]:
    """Encode texts with CLIP; features are L2-normalised and in the order of the texts.

    Args:
        clip: Network whose text tower encodes.
        texts: Words or phrases.
        template: Prompt with one `{}`, which each text replaces.
        batch_size: Texts that are encoded at a time.
    """
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    unique = list(rows)
    starts = range(0, max(len(unique), 1), batch_size)
    batches = [clip.encode_texts(unique[i : i + batch_size], template) for i in starts]
    features = torch.cat(batches)
    return features[[rows[text] for text in texts]]
