import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.model.clip_cams import (
    ClassGradients,
    class_gradients,
    clip_cams,
    grad_cams,
    image_texts,
    normalise_cams,
    resize_cams,
    view_cams,
)
from qaclims_ray.model.clip_vit import encode_patches
from qaclims_ray.model.new_clip import new_clip

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 28, "layers": 3, "width": 32, "head_width": 16, "patch_size": 7},
    "text_cfg": {"context_length": 12, "width": 8, "heads": 1, "layers": 1, "vocab_size": 16},
}
SCALE = 20.0


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return new_clip(CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def visual(clip):
    return clip.clip.visual


def _rows(*counts, seed=0):
    """Random text features, as many for each image as told."""
    generator = torch.manual_seed(seed)
    return [torch.randn(count, 16, generator=generator) for count in counts]


def _images(count, height, width, seed=0):
    shape = (count, height, width, 3)
    return list(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _views(count, height=28, width=28):
    return torch.randn(count, 3, height, width, generator=torch.manual_seed(1))


def _close(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def _plain_gradient(visual, view, texts, label):
    """Gradient of a class's probability: open_clip's whole forward pass, and a backward pass."""
    kept = {}
    hooks = [
        module.register_forward_hook(lambda *a, name=name: kept.update({name: a[-1]}))
        for name, module in (
            ("normed", visual.transformer.resblocks[-1].ln_1),
            ("patches", visual.ln_post),
        )
    ]
    visual(view[None].requires_grad_())
    for hook in hooks:
        hook.remove()
    feature = kept["patches"][0, 1:].mean(0) @ visual.proj
    logits = SCALE * F.cosine_similarity(texts, feature[None], dim=1)
    kept["normed"].retain_grad()
    logits.softmax(0)[label].backward()
    return logits.detach(), kept["normed"].detach()[0, 1:], kept["normed"].grad[0, 1:]


def test_gradients_equal_a_whole_backward_pass_for_each_class(visual):
    views, classes, backgrounds = _views(3), _rows(2, 0, 3), _rows(1, 2, 0, seed=1)
    tokens = encode_patches(visual, views, 1).tokens
    parts = class_gradients(visual, tokens, image_texts(classes, backgrounds), SCALE)
    expected = [
        _plain_gradient(visual, views[i], torch.cat([classes[i], backgrounds[i]]), label)
        for i in range(3)
        for label in range(len(classes[i]))
    ]
    assert len(parts.gradients) == len(expected) == 5
    for position, (logits, activation, gradient) in enumerate(expected):
        present = parts.logits[position].isfinite()
        torch.testing.assert_close(parts.logits[position][present], logits)
        torch.testing.assert_close(parts.activations[position], activation)
        torch.testing.assert_close(parts.gradients[position], gradient, rtol=1e-3, atol=1e-7)


def test_gradients_are_of_the_probability(visual):
    """A step along the gradient changes the probability by step times squared length."""
    tokens = encode_patches(visual.double(), _views(1).double(), 1).tokens
    texts = image_texts([_rows(2)[0].double()], [_rows(1, seed=1)[0].double()])
    before = class_gradients(visual, tokens, texts, SCALE)
    step = 1e-3 * before.gradients[0] / before.gradients[0].norm()
    norm = visual.transformer.resblocks[-1].ln_1
    moved = F.pad(step, (0, 0, 1, 0))
    hook = norm.register_forward_hook(lambda *a: a[-1] + moved)
    after = class_gradients(visual, tokens, texts, SCALE)
    hook.remove()
    visual.float()
    change = after.logits[0].softmax(0)[0] - before.logits[0].softmax(0)[0]
    torch.testing.assert_close(change, 1e-3 * before.gradients[0].norm(), rtol=1e-2, atol=0)


def test_cams_are_weighted_by_mean_gradients():
    activations = torch.tensor([[[1.0, 2], [3, -1]]])
    gradients = torch.tensor([[[1.0, 0], [3, -2]]])
    parts = ClassGradients(torch.zeros(1, 1), activations, gradients)
    assert grad_cams(parts).tolist() == [[0.0, 7.0]]


@pytest.mark.parametrize("options", [{}, {"scales": (1.0, 0.5), "flip": True}])
def test_a_batch_equals_one_image_at_a_time(clip, options):
    images, classes = _images(4, 30, 45), _rows(1, 0, 3, 2)
    backgrounds = _rows(4, 2, 0, 1, seed=1)
    together = clip_cams(clip, images, image_texts(classes, backgrounds), **options)
    alone = [
        clip_cams(clip, [image], image_texts([fg], [bg]), **options)
        for image, fg, bg in zip(images, classes, backgrounds, strict=True)
    ]
    _close(together, [torch.cat(maps) for maps in zip(*alone, strict=True)])
    assert together.cams.shape == (6, 5, 7)


def test_padding_changes_nothing(clip):
    images, classes, backgrounds = _images(2, 28, 28), _rows(2, 1), _rows(3, 1, seed=1)
    texts = image_texts(classes, backgrounds)
    features = F.pad(texts.features, (0, 0, 0, 3), value=7.0)
    padded = texts._replace(
        features=features,
        is_class=F.pad(texts.is_class, (0, 3)),
        present=F.pad(texts.present, (0, 3)),
    )
    _close(clip_cams(clip, images, padded), clip_cams(clip, images, texts))


def test_the_length_of_text_features_does_not_matter(clip):
    images, (classes,), (backgrounds,) = _images(1, 28, 28), _rows(2), _rows(3, seed=1)
    longer = image_texts([3 * classes], [0.5 * backgrounds])
    _close(
        clip_cams(clip, images, longer),
        clip_cams(clip, images, image_texts([classes], [backgrounds])),
    )


def test_the_order_of_texts_does_not_matter(clip):
    images, (classes,), (backgrounds,) = _images(1, 28, 28), _rows(3), _rows(4, seed=1)
    made = clip_cams(clip, images, image_texts([classes], [backgrounds]))
    shuffled = clip_cams(clip, images, image_texts([classes[[2, 0, 1]]], [backgrounds.flip(0)]))
    _close(shuffled, [maps[[2, 0, 1]] for maps in made])


def test_a_background_matters(clip):
    images, classes = _images(1, 28, 28), _rows(2)
    one, other = (
        clip_cams(clip, images, image_texts(classes, _rows(2, seed=seed))) for seed in (1, 2)
    )
    assert not torch.allclose(one.cams, other.cams, atol=1e-2)


def test_with_flips_the_mirror_image_has_mirrored_maps(clip):
    images, texts = _images(2, 28, 42), image_texts(_rows(1, 2), _rows(3, 3, seed=1))
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    made, other = (clip_cams(clip, batch, texts, flip=True) for batch in (images, mirrored))
    _close(other, [maps.flip(-1) for maps in made])
    assert not torch.allclose(made.cams, clip_cams(clip, images, texts).cams, atol=1e-2)


def test_views_are_averaged_before_they_are_normalised(clip):
    images, texts = _images(1, 28, 28), image_texts(_rows(1), _rows(2, seed=1))
    plain, mirror = (
        clip_cams(clip, batch, texts).cams for batch in (images, [images[0][:, ::-1].copy()])
    )
    expected = normalise_cams((plain + mirror.flip(-1)) / 2)
    torch.testing.assert_close(
        clip_cams(clip, images, texts, flip=True).cams, expected, rtol=0, atol=1e-4
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.booleans(), st.booleans())
def test_any_size_gives_finite_maps_from_0_to_1(clip, height, width, flip, faults):
    texts = image_texts(_rows(2), _rows(2, seed=1))
    images = _images(1, height, width)
    made = clip_cams(clip, images, texts, scales=(1.0, 1.5), flip=flip, published_faults=faults)
    for maps in made:
        assert maps.shape == (2, -(-height // 7), -(-width // 7))
        assert ((maps >= 0) & (maps <= 1)).all()
        assert resize_cams(maps, height, width).shape == (2, height, width)


def test_images_of_one_grid_share_a_batch(clip):
    images = [*_images(1, 27, 40), *_images(1, 28, 36, seed=1)]
    classes, backgrounds = _rows(1, 1), _rows(1, 1, seed=1)
    together = clip_cams(clip, images, image_texts(classes, backgrounds))
    for position in range(2):
        texts = image_texts([classes[position]], [backgrounds[position]])
        alone = clip_cams(clip, [images[position]], texts)
        _close([maps[[position]] for maps in together], alone)


def test_other_grids_are_refused(clip):
    images = [*_images(1, 28, 28), *_images(1, 29, 28)]
    with pytest.raises(ValueError, match="shape"):
        clip_cams(clip, images, image_texts(_rows(1, 1), _rows(1, 1)))


def test_a_sole_class_without_background_has_no_gradient(clip):
    made = clip_cams(clip, _images(1, 28, 28), image_texts(_rows(1), _rows(0)))
    assert all(maps.count_nonzero() == 0 and len(maps) == 1 for maps in made)


def test_an_image_within_one_patch_has_maps_of_zeros(clip):
    made = clip_cams(clip, _images(1, 3, 7), image_texts(_rows(2), _rows(1, seed=1)))
    assert all(torch.equal(maps, torch.zeros(2, 1, 1)) for maps in made)


@pytest.mark.parametrize("num_backgrounds", [0, 2])
def test_no_label_gives_no_map(clip, visual, num_backgrounds):
    texts = image_texts(_rows(0, 0), _rows(num_backgrounds, num_backgrounds))
    made = clip_cams(clip, _images(2, 20, 28), texts)
    assert [maps.shape for maps in made] == [(0, 3, 4)] * 2
    made = view_cams(visual, _views(2, 21), texts, logit_scale=SCALE)
    assert [maps.shape for maps in made] == [(0, 3, 4)] * 2


def test_options_matter(clip):
    images, texts = _images(1, 28, 28), image_texts(_rows(2), _rows(2, seed=1))
    made = [
        clip_cams(clip, images, texts, **options).refined
        for options in (
            {},
            {"num_maps": 1},
            {"box_threshold": 0.9},
            {"scales": (2.0,)},
            {"published_faults": True},
        )
    ]
    assert all(not torch.allclose(made[0], other, atol=1e-3) for other in made[1:])


def test_nothing_is_changed_by_the_way(clip, visual):
    visual.requires_grad_(True)
    state = {name: value.clone() for name, value in clip.state_dict().items()}
    texts = image_texts(_rows(1), _rows(1, seed=1))
    copies = [part.clone() for part in texts]
    clip_cams(clip, _images(1, 28, 28), texts)
    assert all(parameter.grad is None for parameter in clip.parameters())
    visual.requires_grad_(False)
    assert all(torch.equal(value, state[name]) for name, value in clip.state_dict().items())
    assert all(torch.equal(part, copy) for part, copy in zip(texts, copies, strict=True))


def test_another_tower_is_refused():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
    clip = new_clip({**CONFIG, "vision_cfg": vision}).eval()
    with pytest.raises(ValueError, match="not ModifiedResNet: set the CLIP"):
        clip_cams(clip, _images(1, 32, 32), image_texts(_rows(1), _rows(1)))


def test_normalised_maps_begin_at_0_and_end_below_1():
    maps = torch.tensor([[[1.0, 3.0, 2.0]], [[0, 0, 0]], [[0, 1e-7, 0]]])
    expected = torch.tensor([[[0.0, 1.0, 0.5]], [[0, 0, 0]], [[0, 0.5, 0]]])
    torch.testing.assert_close(normalise_cams(maps), expected)


def test_maps_are_enlarged_from_cell_centres():
    enlarged = resize_cams(torch.tensor([[[0.0, 1.0]]]), 1, 4)[0, 0].tolist()
    assert enlarged == [0, 0.25, 0.75, 1]
