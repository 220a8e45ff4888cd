import json
import sys
import warnings

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import dynamic_module_utils

from qaclims_ray.model.checkpoints import OVSEG_PREFIX
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.clip_files import load_clip, save_clip


@pytest.fixture
def views():
    return torch.randn(2, 3, 28, 28, generator=torch.manual_seed(1))


@pytest.fixture
def masks():
    return (torch.rand(2, 1, 28, 28, generator=torch.manual_seed(2)) > 0.9).float()


def test_whole_views_are_encoded_as_open_clip_does(make_clip, views):
    for depth in (0, 2):
        clip = make_clip(depth)
        assert torch.equal(clip.encode_regions(views), clip.clip.encode_image(views))


def test_prompts_with_a_full_mask_change_nothing(make_clip, views):
    clip = make_clip(2)
    full = torch.ones(2, 1, 28, 28)
    torch.testing.assert_close(clip.encode_regions(views, full), clip.encode_regions(views))


def test_without_prompts_the_view_is_multiplied_by_its_mask(make_clip, views, masks):
    clip = make_clip(0)
    assert torch.equal(clip.encode_regions(views, masks), clip.encode_regions(views * masks))


def test_one_pixel_keeps_its_patch_and_no_other(make_clip, views):
    clip = make_clip(3)
    mask = torch.zeros(2, 1, 28, 28)
    mask[:, :, 8, 15] = 1
    inside, outside = views.clone(), views.clone()
    inside[:, :, 7:14, 14:21] += 1
    outside[:, :, :7] += 1
    reference = clip.encode_regions(views, mask)
    assert torch.equal(clip.encode_regions(outside, mask), reference)
    assert not torch.allclose(clip.encode_regions(inside, mask), reference)


def test_a_frozen_clip_passes_gradients_to_the_views_only(make_clip, views, masks):
    clip = make_clip(2)
    clip.encode_regions(views.requires_grad_(), masks).sum().backward()
    assert views.grad.abs().sum() > 0
    assert all(p.grad is None for p in clip.parameters())
    assert not clip.encode_regions(views.detach(), masks).requires_grad
    assert not clip.encode_texts(["sky"]).requires_grad


def test_no_pairs_give_no_features(make_clip, views, masks):
    for depth in (0, 2):
        assert make_clip(depth).encode_regions(views[:0], masks[:0]).shape == (0, 16)


def test_texts_are_unit_vectors_in_their_order(make_clip):
    clip = make_clip()
    features = clip.encode_texts(["sky", "grass", "sky"])
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert torch.equal(features[0], features[2])
    assert not torch.allclose(features[0], features[1])
    filled = clip.encode_texts(["a photo of sky."], "{}")
    torch.testing.assert_close(features[:1], filled)


def test_no_texts_give_no_features(make_clip):
    assert make_clip().encode_texts([]).shape == (0, 16)


def test_bfloat16_autocast_is_finite(make_clip, views, masks):
    clip = make_clip(2)
    with torch.autocast("cpu", torch.bfloat16):
        features = clip.encode_regions(views.requires_grad_(), masks)
    features.float().sum().backward()
    assert features.isfinite().all()
    assert views.grad.isfinite().all()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_saved_clip_is_loaded_as_it_was(make_clip, views, masks, tmp_path, depth):
    clip = make_clip(2)
    save_clip(clip, tmp_path)
    loaded = load_clip(str(tmp_path), mask_prompt_depth=depth)
    expected = {0: make_clip(0), 1: None, 2: clip}[depth]
    if expected is not None:
        assert torch.equal(
            loaded.encode_regions(views, masks), expected.encode_regions(views, masks)
        )
    else:
        assert torch.equal(loaded.mask_embeddings, clip.mask_embeddings[:1])
    assert torch.equal(
        loaded.encode_texts(["sky", "unheard"]), clip.encode_texts(["sky", "unheard"])
    )
    assert (loaded.image_size, loaded.image_mean) == (28, clip.image_mean)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_saved_clip_is_one_that_open_clip_reads(make_clip, views, tmp_path):
    clip = make_clip(1)
    save_clip(clip, tmp_path)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    torch.testing.assert_close(theirs.encode_image(views), clip.encode_regions(views))
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(["a photo of sky."])
    assert torch.equal(ids, clip.tokenizer(["a photo of sky."]))


def test_more_prompts_than_embeddings_are_an_error(make_clip, tmp_path):
    save_clip(make_clip(2), tmp_path)
    with pytest.raises(ValueError, match="mask_prompt_depth is 3, but the weights hold 2"):
        load_clip(str(tmp_path), mask_prompt_depth=3)


def test_a_folder_without_clip_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no CLIP directory"):
        load_clip(str(tmp_path))


def test_an_unknown_model_is_an_error_with_near_names():
    with pytest.raises(ValueError, match=r"'ViT-B-61' is neither .*'ViT-B-16'"):
        load_clip("ViT-B-61", "openai")


@pytest.mark.parametrize("tag", [None, "laion"])
def test_an_unknown_tag_is_an_error_with_the_tags(tag):
    with pytest.raises(ValueError, match="'openai', 'laion400m_e31'"):
        load_clip("ViT-B-16", tag)


@pytest.fixture
def listed(monkeypatch, tmp_path, make_clip):
    """The tiny CLIP as a model that open_clip lists."""
    config = dict(make_clip().config)
    config["text_cfg"] = {**config["text_cfg"], "vocab_size": 49408}
    config["text_cfg"].pop("hf_tokenizer_name")
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [tmp_path])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {})
    open_clip.factory._rescan_model_configs()
    return open_clip.create_model("tiny-clip", force_quick_gelu=True).eval()


def test_a_weights_file_of_openai_names_is_loaded_without_a_warning(listed, tmp_path, caplog):
    state = {**listed.state_dict(), "input_resolution": torch.tensor(28)}
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    caplog.clear()
    clip = load_clip("tiny-clip", str(tmp_path / "weights.pt"))
    assert torch.equal(clip.clip.visual.proj, listed.visual.proj)
    assert clip.mask_embeddings is None
    assert not clip.config["quick_gelu"]
    assert not caplog.records


def test_a_torchscript_archive_of_openai_is_loaded_with_quick_gelu(listed, views, tmp_path):
    listed.register_buffer("input_resolution", torch.tensor(28))
    listed.attn_mask = None  # which open_clip does not save, and tracing would
    expected = listed.encode_image(views)
    inputs = (views.half(), torch.zeros(2, 12, dtype=torch.long))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(listed.half(), inputs, check_trace=False).save(tmp_path / "ViT-T.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = load_clip("tiny-clip", str(tmp_path / "ViT-T.pt"))
    assert clip.config["quick_gelu"]
    assert clip.clip.visual.proj.dtype == torch.float32
    assert torch.equal(clip.clip.visual.proj, listed.visual.proj.float())
    torch.testing.assert_close(clip.encode_regions(views), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_tag_loads_what_it_downloads_with_the_activation_it_asks_for(
    listed, views, tmp_path, monkeypatch, quick_gelu
):
    """Only the download is replaced: nothing can be fetched here."""
    torch.save(listed.state_dict(), tmp_path / "weights.pt")
    tag = {"tiny-clip": {"mine": {"url": "somewhere", "quick_gelu": quick_gelu}}}
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", tag)
    download = lambda *_, **__: str(tmp_path / "weights.pt")  # noqa: E731
    monkeypatch.setattr(open_clip.factory, "download_pretrained", download)
    clip = load_clip("tiny-clip", "mine")
    expected = open_clip.create_model("tiny-clip", force_quick_gelu=quick_gelu).eval()
    expected.load_state_dict(listed.state_dict())
    assert clip.config["quick_gelu"] == quick_gelu
    torch.testing.assert_close(clip.encode_regions(views), expected.encode_image(views))


def test_a_tag_that_cannot_be_downloaded_is_an_error_with_a_way_out(listed, monkeypatch):
    tag = {"tiny-clip": {"mine": {"url": "http://127.0.0.1:9/weights.pt"}}}
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", tag)
    with pytest.raises(ValueError, match=r"could not be had .*give the file instead of the tag"):
        load_clip("tiny-clip", "mine")


@pytest.mark.parametrize(
    ("model", "tag", "named"),
    [
        ("ViT-L-14", "openai", "ViT-L-14-quickgelu"),
        ("ViT-L-14-quickgelu", "openai", "ViT-L-14-quickgelu"),
        ("ViT-L-14", "laion2b_s32b_b82k", "ViT-L-14"),
    ],
)
def test_a_failed_download_names_the_model_for_the_file(monkeypatch, model, tag, named):
    def fail(*_, **__):
        raise RuntimeError("no connection")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(ValueError, match=f"give the file instead .* with the model '{named}'$"):
        load_clip(model, tag)


def test_mask_prompts_without_mask_embeddings_are_an_error(listed, tmp_path):
    torch.save(listed.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="have no mask embeddings: set it to 0"):
        load_clip("tiny-clip", str(tmp_path / "weights.pt"), mask_prompt_depth=2)


def test_an_ovseg_checkpoint_is_loaded_with_its_embeddings_and_quick_gelu(listed, views, tmp_path):
    state = {f"{OVSEG_PREFIX}{name}": value for name, value in listed.state_dict().items()}
    embeddings = torch.randn(3, 16, 32)
    state[f"{OVSEG_PREFIX}visual.mask_embedding"] = embeddings
    state["sem_seg_head.weight"] = torch.zeros(2)
    torch.save({"model": state}, tmp_path / "ovseg.pth")
    clip = load_clip("tiny-clip", str(tmp_path / "ovseg.pth"), mask_prompt_depth=3)
    assert torch.equal(clip.mask_embeddings, embeddings)
    assert clip.config["quick_gelu"]
    torch.testing.assert_close(clip.encode_regions(views), listed.encode_image(views))


def test_a_file_without_clip_weights_is_an_error_not_a_random_model(listed, tmp_path):
    state = {f"clip_model.{name}": value for name, value in listed.state_dict().items()}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"do not fit: 0 of \d+ tensors"):
        load_clip("tiny-clip", str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize("model", ["ViT-S-32-alt", "ViT-L-14-336-quickgelu", "coca_ViT-B-32"])
def test_vision_transformers_that_open_clip_lists_take_mask_prompts(model):
    config = open_clip.get_model_config(model)
    make = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CLIP
    settings = {name: value for name, value in config.items() if name != "custom_text"}
    with torch.device("meta"):
        clip = MaskPromptedClip(make(**settings), list, config, mask_prompt_depth=2)
        side = clip.clip.visual.image_size[0]
        features = clip.encode_regions(torch.zeros(2, 3, side, side), torch.ones(2, 1, side, side))
    assert features.shape == (2, config["embed_dim"])


def test_a_folders_own_python_file_is_run_only_where_we_say_so(make_clip, tmp_path, monkeypatch):
    """Its configuration asks for it, as any file of a folder may."""
    folder, secret = tmp_path / "clip", tmp_path / "secret"
    save_clip(make_clip(), folder)
    code = "import transformers\nclass Tokens(transformers.PreTrainedTokenizerFast): pass"
    (folder / "own.py").write_text(f"{code}\nopen({str(secret)!r}, 'w').close()\n")
    for file, change in {
        "open_clip_config.json": {"tokenizer_kwargs": {"trust_remote_code": True}},
        "tokenizer_config.json": {"auto_map": {"AutoTokenizer": [None, "own.Tokens"]}},
    }.items():
        config = json.loads((folder / file).read_text())
        config.get("model_cfg", {}).get("text_cfg", config).update(change)
        config.update({"tokenizer_class": "Tokens"} if "auto_map" in config else {})
        (folder / file).write_text(json.dumps(config))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_clip(str(folder))
    assert not secret.exists()
    load_clip(str(folder), trust_remote_code=True)
    assert secret.exists()
