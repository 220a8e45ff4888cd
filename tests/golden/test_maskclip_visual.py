"""The mask-prompted image encoder: features, and gradients with respect to the image."""

import pytest

CASES = ["A", "B", "C", "D", "E"]
MASKS = {"masked": "mask", "invmasked": "inv_mask", "nomask": None}


@pytest.fixture(scope="module")
def visual(golden):
    return golden("maskclip_visual")


@pytest.fixture(scope="module")
def clips(visual, tiny_clip):
    return {case["key"]: tiny_clip(_clip_config(case["config"])) for case in visual.meta["cases"]}


def _clip_config(config):
    return {
        "embed_dim": config["output_dim"],
        "image_resolution": config["input_resolution"],
        "vision_layers": config["layers"],
        "vision_width": config["width"],
        "vision_heads": config["heads"],
        "vision_patch_size": config["patch_size"],
        "mask_prompt_depth": config["mask_prompt_depth"],
        "context_length": 77,
        "vocab_size": 49408,
        "transformer_width": 8,
        "transformer_heads": 1,
        "transformer_layers": 1,
    }


@pytest.mark.parametrize("masking", MASKS)
@pytest.mark.parametrize("key", CASES)
def test_features_and_gradient(visual, clips, key, masking):
    name = f"{key}_{masking}"
    views = visual["image"].requires_grad_()
    masks = None if MASKS[masking] is None else visual[MASKS[masking]]
    features = clips[key].encode_regions(views, masks)
    visual.check(features, f"{name}_features")
    features.sum().backward()
    if f"{name}_grad_image" in visual:
        visual.check(views.grad, f"{name}_grad_image")
    else:
        visual.check(views.grad[:, :, ::4, ::4], f"{name}_grad_image_sub")


def test_names_and_shapes(visual, clips, clip_name):
    expected = next(c for c in visual.meta["cases"] if c["key"] == "C")["names"]
    state = {clip_name(n): list(v.shape) for n, v in clips["C"].state_dict().items()}
    assert {n: s for n, s in state.items() if n.startswith("visual.")} == expected


def test_every_case_is_run(visual):
    assert [c["key"] for c in visual.meta["cases"]] == CASES
