"""Text features through CLIP's text tower, and their mixture per pair."""

import pytest
import torch

from qaclims_ray.model.texts import foreground_features


@pytest.fixture(scope="module")
def features(golden):
    return golden("fg_text_feature")


@pytest.fixture(scope="module")
def clip(features, tiny_clip):
    return tiny_clip(features.meta["tiny_clip_config"])


def test_token_ids(features, clip):
    ids = clip.tokenizer(features.meta["texts"])
    assert torch.equal(ids, features["text_ids"].long())


def test_text_features(features, clip):
    features.check(clip.encode_texts(features.meta["texts"], "{}"), "text_features_unit")
    inner = [text.removeprefix("a photo of ").removesuffix(".") for text in features.meta["texts"]]
    features.check(clip.encode_texts(inner), "text_features_unit")


def test_foreground_features_from_texts(features, clip):
    for i, pair in enumerate(features.meta["pairs"]):
        bank = clip.encode_texts([pair["label"], *pair["prompts"]])
        rows = torch.arange(1, len(bank))[None]
        features.check(foreground_features(bank, torch.tensor([0]), rows), f"p{i}_fg_feat")


def test_foreground_features_at_full_width(features):
    bank = torch.cat([features["rand_label_feat"], features["rand_answer_feats"]])
    mixed = foreground_features(bank, torch.tensor([0]), torch.arange(1, 7)[None])
    features.check(mixed, "rand_fg_feat")
