"""Names and shapes of the published ViT-L/14 with mask prompts."""

import open_clip
import torch

from qaclims_ray.model.checkpoints import OVSEG_PREFIX
from qaclims_ray.model.clip import MaskPromptedClip


def test_names_and_shapes(golden, clip_name):
    meta = golden("maskclip_vitl14_names").meta
    config = open_clip.get_model_config("ViT-L-14-quickgelu")
    with torch.device("meta"):
        clip = MaskPromptedClip(open_clip.CLIP(**config), list, config, mask_prompt_depth=3)
    state = {clip_name(n): list(v.shape) for n, v in clip.state_dict().items()}
    assert state == meta["state_dict"]
    assert clip.clip.visual.transformer.resblocks[0].attn.num_heads == 16
    assert meta["prefix"] == OVSEG_PREFIX
