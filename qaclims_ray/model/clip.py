"""CLIP whose image encoder can be told which region to look at (mask prompts).

The towers and the tokenizer are open_clip's. Mask prompts are those of OVSeg (Liang et al., CVPR
2023) as the published code has them in `third_party/CLIP/clip/model.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from qaclims_ray.model.shapes import Features, Masks

Tokenizer = Callable[[list[str]], Tensor]
"""Texts to token ids."""

PROMPT = "a photo of {}."
"""Template in which CLIP reads a class name or an answer, as published."""


class MaskPromptedClip(nn.Module):
    """An open_clip model with mask prompts of depth 0 (plain CLIP) or more."""

    clip: Any
    """The open_clip model."""
    config: dict[str, Any]
    """Its open_clip configuration (`embed_dim`, `vision_cfg`, `text_cfg`, …)."""
    mask_embeddings: nn.Parameter | None
    """What stands for a masked-out patch, shape (depth, patches, width); None at depth 0."""

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Tokenizer,
        config: dict[str, Any],
        mask_prompt_depth: int = 0,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.config = config
        self.mask_embeddings = None
        if mask_prompt_depth:
            visual = self.clip.visual
            if not isinstance(visual, VisionTransformer):
                raise ValueError(
                    "mask prompts need open_clip's own vision transformer, not "
                    f"{type(visual).__name__}: set mask_prompt_depth to 0 or choose a model such "
                    "as ViT-B-16"
                )
            num_patches = visual.grid_size[0] * visual.grid_size[1]
            shape = (mask_prompt_depth, num_patches, visual.conv1.out_channels)
            self.mask_embeddings = nn.Parameter(torch.zeros(shape))

    @property
    def image_size(self) -> int:
        """Side of the square views, in pixels."""
        size = self.clip.visual.preprocess_cfg["size"]
        return size if isinstance(size, int) else size[0]

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Mean per channel that this CLIP's images are normalised with, for pixels in [0, 1]."""
        return tuple(self.clip.visual.preprocess_cfg["mean"])

    @property
    def image_std(self) -> tuple[float, float, float]:
        """Standard deviation per channel, as `image_mean`."""
        return tuple(self.clip.visual.preprocess_cfg["std"])

    def encode_texts(self, texts: Sequence[str], template: str = PROMPT) -> Float[Tensor, "L D"]:
        """L2-normalised features of `template` filled with each text."""
        if not texts:
            return torch.zeros(0, self.config["embed_dim"], device=self._device)
        tokens = self.tokenizer([template.format(text) for text in texts])
        return self.clip.encode_text(tokens.to(self._device), normalize=True)

    def encode_regions(
        self, views: Float[Tensor, "P 3 H W"], masks: Masks | None = None
    ) -> Features:
        """Features of image regions, not normalised.

        Args:
            views: normalised images of `image_size`.
            masks: 1 inside the region. With mask prompts, patches wholly outside it are replaced
                by the mask embeddings; without (depth 0), the view is multiplied by its mask.
                None: the whole view.
        """
        if len(views) == 0:  # open_clip's reshape refuses an empty batch
            return views.new_zeros(0, self.config["embed_dim"])
        if masks is None:
            return self.clip.encode_image(views, normalize=False)
        if self.mask_embeddings is None:
            return self.clip.encode_image(views * masks, normalize=False)
        return self._encode_prompted(views, masks, self.mask_embeddings)

    def _encode_prompted(self, views: Tensor, masks: Tensor, embeddings: Tensor) -> Tensor:
        visual = self.clip.visual
        # Rounded up: any pixel of the region keeps its whole patch.
        inside = F.avg_pool2d(masks, visual.patch_size).ceil().flatten(2).transpose(1, 2) > 0
        patches = visual.conv1(views).flatten(2).transpose(1, 2)
        patches = _replace_outside(patches, inside, embeddings[0])
        start = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([start, patches], 1) + visual.positional_embedding.to(patches.dtype)
        tokens = visual.ln_pre(tokens)
        for depth, block in enumerate(visual.transformer.resblocks, start=1):
            tokens = block(tokens)
            if depth < len(embeddings):
                patches = _replace_outside(tokens[:, 1:], inside, embeddings[depth])
                tokens = torch.cat([tokens[:, :1], patches], 1)
        return visual._pool(tokens)[0] @ visual.proj

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device


def _replace_outside(
    patches: Float[Tensor, "P N W"], inside: Bool[Tensor, "P N 1"], embedding: Float[Tensor, "N W"]
) -> Float[Tensor, "P N W"]:
    return torch.where(inside, patches, embedding.to(patches.dtype))
