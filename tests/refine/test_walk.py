import numpy as np
import torch

from qaclims_ray.refine.walk import scores_to_mask, walk_to_mask


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
