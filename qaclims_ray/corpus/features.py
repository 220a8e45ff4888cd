"""CLIP features of texts."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from qaclims_ray.model.clip import MaskPromptedClip


@torch.no_grad()
def embed_texts(
    clip: MaskPromptedClip,
    texts: Sequence[str],
    *,
    template: str = "a photo of {}.",
    batch_size: int = 256,
) -> Float[Tensor, "L D"]:
    """L2-normalised features of `texts` in their order; each unique text is encoded once.

    Args:
        clip: whose text tower encodes.
        texts: words or phrases, put into `template`.
        template: prompt with one `{}`.
        batch_size: texts encoded at a time.
    """
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    unique = list(rows)
    starts = range(0, max(len(unique), 1), batch_size)
    batches = [clip.encode_texts(unique[i : i + batch_size], template) for i in starts]
    features = torch.cat(batches)
    return features[[rows[text] for text in texts]]
