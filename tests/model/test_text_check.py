import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.model.text_check import (
    RegionFeatures,
    ranking,
    region_features,
    text_distances,
    told_apart,
)

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 7},
    "text_cfg": {"context_length": 12, "width": 8, "heads": 1, "layers": 1, "vocab_size": 16},
}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return new_clip(CONFIG).eval().requires_grad_(False)


def test_features_and_figures_are_those_of_the_two_views(clip):
    """A CAM that is 1 in the left half and 0 in the right one."""
    generator = torch.manual_seed(1)
    image = torch.randn(1, 3, 28, 28, generator=generator)
    cam = torch.zeros(1, 28, 28)
    cam[:, :, :14] = 1
    classes = torch.randn(1, 16, generator=generator)
    backgrounds = torch.randn(3, 16, generator=generator)
    made = region_features(clip, image, cam, alpha=0.1)
    margins = []
    for found, view in zip(made, (image * cam, image * (1 - cam)), strict=True):
        feature = clip.encode_regions(view)
        torch.testing.assert_close(found, F.normalize(feature, dim=-1))
        others = F.cosine_similarity(feature, backgrounds).mean()
        margins.append(F.cosine_similarity(feature, classes) - others)
    assert told_apart(made, classes, backgrounds).tolist() == [bool(margins[0] > margins[1])]
    swapped = RegionFeatures(made.outside, made.inside)
    assert told_apart(swapped, classes, backgrounds).tolist() == [bool(margins[0] < margins[1])]
    apart = 1 - F.cosine_similarity(classes, backgrounds).mean()
    torch.testing.assert_close(text_distances(classes, backgrounds), apart[None])


def test_an_image_without_a_class_has_no_region(clip):
    made = region_features(clip, torch.zeros(1, 3, 28, 28), torch.zeros(0, 4, 4), alpha=0.1)
    assert [len(part) for part in made] == [0, 0]
    assert len(told_apart(made, torch.zeros(0, 16), torch.ones(2, 16))) == 0


@pytest.mark.parametrize(
    ("scores", "shown", "expected"),
    [
        ([3.0, 1, 2], [True, False, False], 1.0),
        ([0.0, 1, 2], [True, False, False], 0.0),
        ([1.0, 1, 1, 1], [True, False, True, False], 0.5),
        ([1.0, 0, 2, 1], [True, False, False, True], 0.5),
        ([1.0, 2], [True, True], None),
        ([1.0, 2], [False, False], None),
    ],
)
def test_ranking_by_hand(scores, shown, expected):
    assert ranking(torch.tensor(scores), torch.tensor(shown)) == expected


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2))
def test_ranking_of_the_opposite_is_the_rest(cases):
    scores = torch.tensor([float(score) for score, _ in cases])
    shown = torch.tensor([own for _, own in cases])
    one, other = ranking(scores, shown), ranking(-scores, shown)
    assert (one is None and other is None) or one + other == pytest.approx(1)
