import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.refine.walk import scores_to_mask, walk_cams


def walk_to_masks(cams, edges, classes, sizes, exp_times=8):
    """Pseudo masks as the published settings make them."""
    scores = walk_cams(cams, edges, radius=5, beta=10.0, exp_times=exp_times)
    return [
        scores_to_mask(own, indices, size, background=0.2)
        for own, indices, size in zip(scores, classes, sizes, strict=True)
    ]


def walk_to_mask(cams, edge, classes, size, exp_times=8):
    """The same of one image."""
    return walk_to_masks([cams], edge[None], [classes], [size], exp_times)[0]


def test_scores_are_relative_to_the_largest_of_the_image():
    scores = torch.tensor([[[8.0, 1.0]], [[0.0, 2.0]]])
    mask = scores_to_mask(scores, [2, 5], (1, 2), background=0.2, stride=1)
    assert mask.tolist() == [[3, 6]]
    assert scores_to_mask(scores, [2, 5], (1, 2), background=0.25, stride=1).tolist() == [[3, 0]]


def test_masks_have_the_size_of_the_image():
    mask = scores_to_mask(torch.rand(1, 3, 4), [0], (11, 14), background=0.0)
    assert mask.shape == (11, 14)
    assert mask.dtype == np.uint8


def test_no_score_is_all_background():
    assert not scores_to_mask(torch.zeros(2, 2, 2), [0, 1], (8, 8), background=0.2).any()


def test_no_class_is_all_background():
    mask = walk_to_mask(torch.zeros(0, 2, 2), torch.zeros(2, 2), [], (7, 8))
    assert mask.shape == (7, 8)
    assert not mask.any()


def test_the_walk_fills_what_a_boundary_encloses():
    cams, edge = torch.zeros(1, 12, 12), torch.zeros(12, 12)
    cams[0, 5, 3] = 1
    edge[:, 6] = edge[0] = edge[-1] = edge[:, 0] = 1
    mask = walk_to_mask(cams, edge, [8], (48, 48))
    assert (mask[8:40, 8:20] == 9).all()
    assert not mask[:, 30:].any()


@settings(max_examples=15, deadline=None)
@given(
    num_classes=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_images_that_walk_together_have_the_masks_of_each(num_classes, height, width, seed):
    """Images of equally many cells; they differ in their classes and by up to 3 pixels."""
    torch.manual_seed(seed)
    cells = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    cams = [torch.rand(count, *cells) for count in num_classes]
    edges = torch.rand(len(cams), *cells)
    classes = [list(range(seed, seed + count)) for count in num_classes]
    sizes = [
        (4 * cells[0] - index % 4, max(4 * cells[1] - index, 4 * cells[1] - 3))
        for index in range(len(cams))
    ]
    together = walk_to_masks(cams, edges, classes, sizes, exp_times=3)
    for mask, size, *one in zip(together, sizes, cams, edges, classes, strict=True):
        assert mask.shape == size
        alone = walk_to_mask(*one, size, exp_times=3)
        assert (mask == alone).mean() >= 0.99  # ties fall to one or the other by rounding
        assert set(np.unique(mask)) <= {0, *(index + 1 for index in one[2])}


def test_images_without_any_cam_are_background_beside_others():
    cams = [torch.zeros(2, 5, 6), torch.ones(1, 5, 6), torch.zeros(0, 5, 6)]
    masks = walk_to_masks(cams, torch.zeros(3, 5, 6), [[3, 4], [7], []], [(20, 24)] * 3)
    assert [np.unique(mask).tolist() for mask in masks] == [[0], [8], [0]]
