"""CLIP-ES from the image file to the saved map, every step on its own, and synthetic CAMs."""

import io
import math
from functools import partial

import numpy as np
import PIL.Image
import pytest
import torch

from qaclims_ray.model.clip_affinity import attention_affinity, box_masks, refine_cams
from qaclims_ray.model.clip_cams import (
    class_gradients,
    clip_cams,
    image_texts,
    normalise_cams,
    resize_cams,
)
from qaclims_ray.model.clip_vit import encode_patches, normalise_pixels, patch_grid, stretch_image
from qaclims_ray.model.clip_words import BACKGROUND_WORDS, COCO_BACKGROUND_WORDS, TEMPLATE

CASES = ["a", "b"]
NUM_MAPS, THRESHOLD, LOGIT_SCALE, PATCH = 8, 0.4, 100.0, (16, 16)


@pytest.fixture(scope="module")
def clip_es(golden):
    return golden("clip_es")


@pytest.fixture(scope="module")
def clip(clip_es, tiny_clip):
    config = clip_es.meta["config"]
    clip = tiny_clip(
        {
            "embed_dim": config["embed_dim"],
            "image_resolution": config["input_resolution"],
            "vision_layers": config["vision_layers"],
            "vision_width": config["vision_width"],
            "vision_heads": config["vision_heads"],
            "vision_patch_size": config["patch"],
            "mask_prompt_depth": 0,
            "context_length": 77,
            "vocab_size": 49408,
            "transformer_width": 8,
            "transformer_heads": 1,
            "transformer_layers": 1,
        }
    )
    clip.clip.visual.positional_embedding.data *= config["positional_embedding_factor"]
    clip.clip.logit_scale.data.fill_(config["logit_scale"])
    return clip


@pytest.fixture(params=CASES)
def array(request, clip_es):
    """A golden array of one case by the rest of its name."""
    return lambda name: clip_es[f"{request.param}_{name}"]


def _image(array):
    file = io.BytesIO()
    PIL.Image.fromarray(array("img_u8").numpy()).save(file, "PNG")
    return np.asarray(PIL.Image.open(file))


def _texts(clip_es, array):
    return image_texts([clip_es["fg_text"][array("keys")]], [clip_es["bg_text"]])


def _encoded(clip, array):
    pixels = [array("resized_u8").numpy()]
    visual = clip.clip.visual
    pixels = normalise_pixels(pixels, clip.image_mean, clip.image_std, visual.conv1.weight)
    return encode_patches(visual, pixels, NUM_MAPS, published_faults=True)


def _of_max(actual, expected, share):
    """Equal within a share of the largest value, for each row if there are several."""
    assert actual.shape == expected.shape
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours - theirs).abs().max() <= share * theirs.abs().max()


absolute = partial(torch.testing.assert_close, rtol=0)


def test_image_is_stretched(array):
    image = _image(array)
    stretched = stretch_image(image, patch_grid(image.shape[:2], PATCH), PATCH)
    assert np.array_equal(stretched, array("resized_u8").numpy())


def test_sizes_of_scales(clip_es):
    for key, expected in clip_es.meta["measured"]["scale_sizes"].items():
        size, scale = key.split("@")
        grid = patch_grid([int(side) for side in size.split("x")], PATCH, float(scale))
        assert [16 * side for side in grid] == expected


def test_attention(clip, array):
    absolute(_encoded(clip, array).attention[0], array("attn_mean8"), atol=5e-6)


def test_gradients(clip_es, clip, array, request):
    tokens = _encoded(clip, array).tokens
    texts = _texts(clip_es, array)
    parts = class_gradients(clip.clip.visual, tokens, texts, LOGIT_SCALE)
    for logits in parts.logits:
        absolute(logits, array("logits"), atol=1e-3)
        absolute(logits.softmax(dim=0), array("prob"), atol=3e-5)
    _of_max(parts.gradients.mean(dim=1), array("weights"), 2e-4)
    if "a" in request.node.callspec.params.values():
        _of_max(parts.activations[:1].mT, array("act").flatten(1)[None], 2e-4)
        _of_max(parts.gradients[:1].mT, array("grad").flatten(2), 2e-4)


def test_affinity(clip, array):
    affinity = attention_affinity(_encoded(clip, array).attention)
    _of_max(affinity, array("trans")[None], 2e-5)


def test_boxes(clip_es, array):
    cams = array("cam")
    masks = box_masks(cams, THRESHOLD, published_faults=True)
    assert torch.equal(masks, _painted(cams, array("box_class"), array("boxes")))


def test_refined(array):
    masks = _painted(array("cam"), array("box_class"), array("boxes"))
    affinity = array("trans").expand(len(masks), -1, -1)
    _of_max(refine_cams(array("cam"), affinity, masks), array("refined"), 1e-4)


def test_from_the_file_to_the_saved_map(clip_es, clip, array):
    image = _image(array)
    made = clip_cams(
        clip,
        [image],
        _texts(clip_es, array),
        num_maps=NUM_MAPS,
        box_threshold=THRESHOLD,
        published_faults=True,
    )
    absolute(made.cams, array("cam"), atol=2e-4)
    step = 1 if array("highres").shape[1:] == image.shape[:2] else 2
    maps = resize_cams(made.refined, *image.shape[:2])[:, ::step, ::step]
    absolute(maps, array("highres"), atol=2e-3)


def test_synthetic_cams(clip_es):
    attention = clip_es["syn_attn"].float()[-NUM_MAPS:].mean(dim=0, keepdim=True)[:, 1:, 1:]
    cams, affinity = clip_es["syn_cam"], attention_affinity(attention)
    _of_max(affinity, clip_es["syn_trans"][None], 1e-5)
    masks = box_masks(cams, THRESHOLD, published_faults=True)
    assert torch.equal(masks, _painted(cams, clip_es["syn_box_class"], clip_es["syn_boxes"]))
    refined = refine_cams(cams, affinity.expand(len(cams), -1, -1), masks)
    _of_max(refined, clip_es["syn_refined"], 1e-4)
    maps = resize_cams(normalise_cams(refined), *clip_es["syn_size"].tolist())
    absolute(maps[:, ::3, ::3], clip_es["syn_highres"], atol=2e-4)


def test_words(clip_es):
    config = clip_es.meta["config"]
    counts = {"VOC": len(BACKGROUND_WORDS), "COCO": len(COCO_BACKGROUND_WORDS)}
    assert counts == config["n_background_texts"]
    assert config["prompt"] == TEMPLATE
    assert len(set(BACKGROUND_WORDS)) == len(BACKGROUND_WORDS)


def test_every_case_is_run(clip_es):
    assert list(clip_es.meta["config"]["cases"]) == CASES
    assert math.exp(clip_es.meta["config"]["logit_scale"]) == pytest.approx(LOGIT_SCALE)


def _painted(cams, classes, boxes):
    masks = torch.zeros(cams.shape, dtype=torch.bool)
    for label, (left, top, right, bottom) in zip(classes, boxes, strict=True):
        masks[label, top:bottom, left:right] = True
    return masks
