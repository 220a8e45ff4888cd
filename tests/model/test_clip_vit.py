import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel

from qaclims_ray.model.clip_vit import (
    checked_vit,
    encode_patches,
    normalise_pixels,
    patch_grid,
    patch_values,
    pool_patches,
    resize_positions,
    run_block,
    stretch_image,
)
from qaclims_ray.model.new_clip import new_clip

TEXT = {"context_length": 12, "width": 8, "heads": 1, "layers": 1, "vocab_size": 16}
VISION = {"image_size": 28, "layers": 3, "width": 32, "head_width": 16, "patch_size": 7}


def _visual(**vision):
    config = {"embed_dim": 16, "vision_cfg": {**VISION, **vision}, "text_cfg": {**TEXT}}
    return new_clip(config).eval().requires_grad_(False).clip.visual


@pytest.fixture(scope="module")
def visual():
    torch.manual_seed(0)
    return _visual()


def test_a_vision_transformer_passes(visual):
    assert checked_vit(visual) is visual


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: ModifiedResNet((1, 1, 1, 1), 16, 2, 32, 8), "ModifiedResNet"),
        (lambda: TimmModel("test_vit", 16, pretrained=False), "TimmModel"),
        (lambda: _visual(attentional_pool=True, attn_pooler_heads=2), "attentional pooling"),
        (lambda: _visual(qk_norm=True), "custom blocks"),
    ],
)
def test_other_towers_are_refused(make, kind):
    with pytest.raises(ValueError, match=rf"not .*{kind}.*: set .*ViT-B-16"):
        checked_vit(make())


@pytest.mark.parametrize(
    ("size", "scale", "grid"),
    [
        ((32, 32), 1.0, (2, 2)),
        ((33, 31), 1.0, (3, 2)),
        ((1, 40), 1.0, (1, 3)),
        ((33, 40), 0.5, (2, 2)),
    ],
)
def test_patches_cover_the_image(size, scale, grid):
    assert patch_grid(size, (16, 16), scale) == grid


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 3)])
def test_small_images_are_stretched(size):
    image = np.full((*size, 3), 9, np.uint8)
    grid = patch_grid(size, (7, 7))
    stretched = stretch_image(image, grid, (7, 7))
    assert stretched.shape == (7 * grid[0], 7 * grid[1], 3)
    assert (stretched == 9).all()


def test_pixels_are_normalised_per_channel():
    image = np.array([[[0, 51, 255]]], np.uint8)
    pixels = normalise_pixels([image], (0.5, 0.1, 0.0), (0.5, 0.1, 2.0), torch.zeros(1))
    assert pixels.flatten().tolist() == pytest.approx([-1, 1, 0.5])


def test_positions_of_clips_own_grid_are_its_own(visual):
    assert torch.equal(resize_positions(visual, (4, 4)), visual.positional_embedding)


def test_positions_are_resized_along_both_sides(visual):
    """The first of twice as many columns lies outside the first centre, and so repeats it."""
    resized = resize_positions(visual, (4, 8))
    own = visual.positional_embedding
    assert torch.equal(resized[0], own[0])
    grid, wide = own[1:].unflatten(0, (4, 4)), resized[1:].unflatten(0, (4, 8))
    torch.testing.assert_close(wide[:, 0], grid[:, 0])
    torch.testing.assert_close(wide[:, 1], 0.75 * grid[:, 0] + 0.25 * grid[:, 1])


def test_published_positions_are_rounded(visual):
    exact, rounded = (resize_positions(visual, (3, 5), published_faults=f) for f in (False, True))
    assert torch.equal(rounded, exact.half().float())
    assert not torch.equal(rounded, exact)


def test_blocks_and_pooling_are_open_clips():
    torch.manual_seed(0)
    for pooling in ({}, {"final_ln_after_pool": True}):
        visual = _visual(pool_type="avg", **pooling)
        views = torch.randn(2, 3, 28, 28)
        tokens = encode_patches(visual, views, 1).tokens
        block = visual.transformer.resblocks[-1]
        last, _ = run_block(block, tokens, block.ln_1(tokens), weights=False)
        torch.testing.assert_close(last, block(tokens))
        torch.testing.assert_close(pool_patches(visual, last), visual(views))


@pytest.mark.parametrize("num_maps", [1, 2, 3, 8])
def test_attention_is_that_of_the_last_blocks(visual, num_maps):
    views = torch.randn(2, 3, 14, 35, generator=torch.manual_seed(0))
    tokens, attention = encode_patches(visual, views, num_maps)
    kept = []
    x = encode_patches(_cut(visual, 1), views, 1).tokens  # what the first block takes
    for block in visual.transformer.resblocks:
        kept.append(_attention(block, x))
        before, x = x, block(x)
    torch.testing.assert_close(tokens, before)
    torch.testing.assert_close(attention, torch.stack(kept[-num_maps:]).mean(0)[:, 1:, 1:])


def test_76_patches_run_the_last_block_twice_as_published(visual):
    visual = copy.deepcopy(visual)
    visual.positional_embedding.data.zero_()  # rounding changes nothing
    longer = copy.deepcopy(visual)
    longer.transformer.resblocks.append(longer.transformer.resblocks[-1])
    for num_columns, faulty in ((19, longer), (18, visual)):
        views = torch.randn(1, 3, 28, 7 * num_columns, generator=torch.manual_seed(0))
        published = encode_patches(visual, views, 3, published_faults=True)
        for actual, expected in zip(published, encode_patches(faulty, views, 3), strict=True):
            torch.testing.assert_close(actual, expected)


def _cut(visual, num_blocks):
    visual = copy.deepcopy(visual)
    visual.transformer.resblocks = visual.transformer.resblocks[:num_blocks]
    return visual


def _attention(block, tokens):
    """Softmax of the scaled products of queries and keys, mean over the heads."""
    normed, heads = block.ln_1(tokens), block.attn.num_heads
    projected = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, _ = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in projected.chunk(3, 2))
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1).mean(1)


def test_without_maps_tokens_are_the_same_and_no_attention_is_given(visual):
    images = torch.randn(2, 3, 28, 42)
    tokens, attention = encode_patches(visual, images, 0)
    assert attention is None
    torch.testing.assert_close(tokens, encode_patches(visual, images, 2).tokens)


def test_values_are_what_attention_to_one_patch_alone_gives(visual):
    block = visual.transformer.resblocks[-1]
    normed = torch.randn(2, 5, visual.conv1.out_channels)
    values = patch_values(block, normed)
    for patch in range(1, 5):
        alone = normed[:, [patch]]
        expected = block.attn(alone, alone, alone, need_weights=False)[0]
        torch.testing.assert_close(values[:, patch - 1], expected[:, 0])
