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


SEGFORMER = {
    "model_type": "segformer",
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}


@pytest.fixture(scope="session")
def segformer():
    """The configuration of a tiny SegFormer, as transformers writes it."""
    return dict(SEGFORMER)


@pytest.fixture(scope="session")
def make_segmenter():
    """A small random network of each library, in evaluation mode."""
    # Imported here: their libraries take seconds, and most tests of this folder don't need them.
    from qaclims_ray.model.deeplab import DeepLabV2
    from qaclims_ray.model.segmenter import Segmenter, build_segmenter

    def make(kind, num_labels=4, seed=0):
        torch.manual_seed(seed)
        if kind == "deeplabv2":
            net = Segmenter(DeepLabV2(num_labels, depths=(1, 1, 1, 1)), num_labels)
        else:
            names = {"smp": "smp:DeepLabV3Plus/tu-resnet10t", "transformers": dict(SEGFORMER)}
            net = build_segmenter(names[kind], num_labels, weights=None)
        return net.eval()

    return make


@pytest.fixture(params=["smp", "transformers", "deeplabv2"])
def segmenter(request, make_segmenter):
    """Each of the three libraries."""
    return make_segmenter(request.param)
