import pytest
import torch

from qaclims_ray.corpus.features import embed_texts
from qaclims_ray.model.clip import PROMPT
from qaclims_ray.model.new_clip import new_clip

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 8, "width": 16, "heads": 2, "layers": 1},
}
TEXTS = ["sky", "grass", "sky", "sea", "grass"]


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return new_clip(CONFIG, texts=[PROMPT.format(text) for text in TEXTS]).eval()


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_features_are_in_the_order_of_texts_whatever_the_batches(clip, batch_size):
    features = embed_texts(clip, TEXTS, template=PROMPT, batch_size=batch_size)
    torch.testing.assert_close(features, clip.encode_texts(TEXTS).detach())
    assert not features.requires_grad


def test_each_unique_text_is_encoded_once(clip, monkeypatch):
    seen = []
    encode = clip.encode_texts
    monkeypatch.setattr(clip, "encode_texts", lambda t, *a: seen.extend(t) or encode(t, *a))
    embed_texts(clip, TEXTS, template=PROMPT, batch_size=2)
    assert seen == ["sky", "grass", "sea"]


def test_the_template_surrounds_each_text(clip):
    features = embed_texts(clip, ["sky"], template="sky of {}", batch_size=2)
    torch.testing.assert_close(features, clip.encode_texts(["sky of sky"], "{}").detach())


def test_no_texts_give_no_features(clip):
    assert embed_texts(clip, [], template=PROMPT, batch_size=2).shape == (0, 8)
