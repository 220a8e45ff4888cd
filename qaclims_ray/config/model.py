"""The section `model`: the networks."""

from typing import Literal

from pydantic import NonNegativeInt

from qaclims_ray.config.base import Section


class Clip(Section):
    """The frozen CLIP that judges regions."""

    model: str = "ViT-L-14"
    """open_clip model name, or a directory in open_clip's local layout; `package:` as above."""
    pretrained: str | None = "openai"
    """open_clip tag, or a weights file (open_clip's, OpenAI's, OVSeg's); null for a directory.
    A safetensors file does not tell its activation: with OpenAI's weights in one, the model is
    `ViT-L-14-quickgelu`."""
    mask_prompt_depth: NonNegativeInt = 0
    """Blocks whose masked-out tokens are replaced by mask embeddings; 0: multiply view by mask."""
    normalisation: Literal["imagenet", "clip"] = "imagenet"
    """Mean and std of the views. Published: imagenet, as the CAM network sees them."""


class Model(Section):
    """The networks."""

    backbone: str = "resnet50"
    """resnet50 (output stride 16, as published), small_resnet (stride 8, the demo's), or `timm:`
    and a name of timm's: a CNN that can be had with features at stride 16 (`timm:convnext_tiny`),
    or a plain vision transformer whose patches are the cells, 8, 14 or 16 pixels each
    (`timm:vit_small_patch14_dinov2.lvd142m`). Its position embeddings are interpolated to each
    image's grid; it wants `optimiser: {kind: adamw, learning_rate: 1e-4}`."""
    backbone_weights: str | None = "imagenet"
    """imagenet (torchvision's, or timm's own), a torchvision id such as
    `ResNet50_Weights.IMAGENET1K_V2`, a weights file of torchvision, timm or DINOv2, or null for
    random; `package:` as above."""
    clip: Clip = Clip()
    trust_remote_code: bool = False
    """Run the Python files that come with a model, of the Hub or in its folder, where it needs
    them: a CLIP's tokenizer, or a model of `corpus.engine: {kind: chat}`. They may do anything that
    you may. Segmenters never run any; vLLM asks for it in its own `engine_kwargs`."""
