import pytest
import torch

from qaclims_ray.model.new_clip import new_clip, word_tokenizer

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 6, "width": 16, "heads": 2, "layers": 1},
}


def test_words_become_one_token_each_between_start_and_end():
    tokenizer = word_tokenizer(["A photo of sky."])
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a photo of Sky .")["input_ids"])
    assert tokens == ["<start>", "a", "photo", "of", "sky", ".", "<end>"]


def test_unknown_words_share_a_token_and_the_end_has_the_largest_id():
    tokenizer = word_tokenizer(["sky"])
    assert tokenizer("cliff")["input_ids"] == tokenizer("beach")["input_ids"]
    assert tokenizer("sky")["input_ids"][-1] == len(tokenizer) - 1


def test_long_texts_are_cut_before_the_end_token_and_short_ones_padded():
    clip = new_clip(CONFIG, texts=["a photo of sky ."])
    ids = clip.tokenizer(["sky", "a photo of sky a photo of sky"])
    end = clip.config["text_cfg"]["vocab_size"] - 1
    assert ids.shape == (2, 6)
    assert ids[0].tolist()[2:] == [end, 0, 0, 0]
    assert ids[1, -1] == end


def test_the_given_config_is_left_as_it_was():
    new_clip(CONFIG, texts=["sky"])
    assert "vocab_size" not in CONFIG["text_cfg"]


def test_a_new_clip_trains_all_its_parameters_with_masks():
    clip = new_clip(CONFIG, texts=["sky"], mask_prompt_depth=1)
    views, masks = torch.randn(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    masks[:, :, :8] = 1
    loss = (clip.encode_regions(views, masks) * clip.encode_texts(["sky", "sea"])).sum()
    loss.backward()
    without = {n for n, p in clip.named_parameters() if p.grad is None}
    assert without == {"clip.logit_scale"}


def test_mask_prompts_need_open_clips_own_vision_transformer():
    config = {**CONFIG, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}}
    with pytest.raises(ValueError, match="not ModifiedResNet: set mask_prompt_depth to 0"):
        new_clip(config, texts=["sky"], mask_prompt_depth=1)
