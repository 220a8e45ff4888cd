import pytest
import torch

from qaclims_ray.model.new_clip import new_clip

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 3, "width": 32, "head_width": 16, "patch_size": 7},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
}
WORDS = ["a photo of sky.", "a photo of grass.", "a photo of dining table."]


@pytest.fixture
def make_clip():
    """A tiny random CLIP that knows a few words."""

    def make(depth=0, seed=0):
        torch.manual_seed(seed)
        clip = new_clip(CONFIG, texts=WORDS, mask_prompt_depth=depth)
        if depth:
            torch.nn.init.normal_(clip.mask_embeddings)
        return clip.eval().requires_grad_(False)

    return make
