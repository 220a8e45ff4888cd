import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.model.par import (
    DILATIONS,
    neighbours,
    offsets,
    pamr_affinity,
    par_affinity,
    position_weights,
    refine_scores,
    spread,
)

AFFINITIES = pytest.mark.parametrize("affinity", [par_affinity, pamr_affinity])


def _random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _places(y, x, height, width, dilations):
    """The neighbours of a pixel, kept inside the image."""
    return [
        (min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1))
        for down, right in offsets(dilations)
    ]


def _par_by_pixel(image, dilations):
    """PAR's weights of one image by its definition, pixel by pixel."""
    distance = torch.tensor([math.hypot(*each) for each in offsets(dilations)]).double()
    position = (-((distance / (distance.std() + 1e-8) / 0.3) ** 2)).softmax(0)
    _, height, width = image.shape
    weights = torch.empty(len(distance), height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            around = [image[:, a, b] for a, b in _places(y, x, height, width, dilations)]
            around = torch.stack(around, dim=1)
            difference = (around - image[:, y, x, None]).abs()
            scaled = difference / (around.std(dim=1, keepdim=True) + 1e-8) / 0.3
            weights[:, y, x] = (-(scaled**2)).mean(0).softmax(0) + 0.01 * position
    return weights


@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    dilations=st.lists(st.sampled_from([1, 2, 3, 7]), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_equals_the_definition(height, width, dilations, seed):
    image, scores = _random(3, height, width, seed=seed), _random(2, height, width, seed=seed + 1)
    weights = _par_by_pixel(image, dilations)
    torch.testing.assert_close(par_affinity(image[None], dilations)[0], weights)
    expected = torch.empty_like(scores)
    for y in range(height):
        for x in range(width):
            around = [scores[:, a, b] for a, b in _places(y, x, height, width, dilations)]
            expected[:, y, x] = torch.stack(around, dim=1) @ weights[:, y, x]
    refined = refine_scores(image[None], scores[None], num_steps=1, dilations=dilations)
    torch.testing.assert_close(refined[0], expected)


def test_neighbours_are_ordered_and_borders_repeated():
    grid = torch.arange(6.0).view(1, 1, 2, 3)
    around = neighbours(grid, (1, 9))
    assert offsets((1, 9))[:4] == [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    assert offsets((1, 9))[8:10] == [(-9, -9), (-9, 0)]
    assert around[4][0, 0].tolist() == [[1, 2, 2], [4, 5, 5]]
    assert around[-1][0, 0].tolist() == [[5, 5, 5], [5, 5, 5]]


@AFFINITIES
def test_weights_of_an_image_of_one_colour_are_equal(affinity):
    weights = affinity(torch.full((1, 3, 4, 6), 0.3), DILATIONS)
    position = position_weights(DILATIONS).float() if affinity is par_affinity else torch.zeros(48)
    torch.testing.assert_close(weights, (1 / 48 + position)[:, None, None].expand(1, 48, 4, 6))


@AFFINITIES
def test_weights_sum_to_the_growth_of_a_step(affinity):
    weights = affinity(_random(2, 3, 30, 20), DILATIONS)
    growth = 1.01 if affinity is par_affinity else 1.0
    torch.testing.assert_close(weights.sum(1), torch.full((2, 30, 20), growth).double())


@AFFINITIES
def test_scale_and_offset_of_a_channel_do_not_matter(affinity):
    images, scores = _random(1, 3, 12, 9), _random(1, 2, 12, 9, seed=1)
    factor, offset = torch.tensor([255.0, 3.0, 0.5]), torch.tensor([0.0, -7.0, 2.0])
    changed = images * factor[:, None, None] + offset[:, None, None]
    torch.testing.assert_close(
        refine_scores(images, scores, affinity=affinity),
        refine_scores(changed, scores, affinity=affinity),
        rtol=1e-5,
        atol=1e-6,
    )


@AFFINITIES
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (50, 60)])
def test_a_batch_equals_one_image_at_a_time(affinity, size):
    """Images smaller and larger than the dilations."""
    images, scores = _random(3, 3, *size).float(), _random(3, 4, *size, seed=1).float()
    refined = refine_scores(images, scores, affinity=affinity)
    alone = [
        refine_scores(images[i : i + 1], scores[i : i + 1], affinity=affinity) for i in range(3)
    ]
    assert refined.isfinite().all()
    torch.testing.assert_close(refined, torch.cat(alone))


@AFFINITIES
def test_maps_do_not_mix(affinity):
    images, scores = _random(1, 3, 9, 11), _random(1, 3, 9, 11, seed=1)
    refined = refine_scores(images, scores, affinity=affinity)
    torch.testing.assert_close(
        refined[:, 1:2], refine_scores(images, scores[:, 1:2], affinity=affinity)
    )


@AFFINITIES
def test_float32_equals_float64(affinity):
    images, scores = _random(2, 3, 40, 31), _random(2, 3, 40, 31, seed=1)
    double = refine_scores(images, scores, num_steps=20, affinity=affinity)
    single = refine_scores(images.float(), scores.float(), num_steps=20, affinity=affinity)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5 * float(double.max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    images, scores = _random(1, 3, 20, 31).to(dtype), _random(1, 3, 20, 31, seed=1).to(dtype)
    refined = refine_scores(images, scores)
    assert refined.dtype == dtype
    torch.testing.assert_close(refined, refine_scores(images.float(), scores.float()).to(dtype))


def test_images_and_scores_of_two_types():
    images, scores = _random(1, 3, 8, 9), _random(1, 3, 8, 9, seed=1).float()
    refined = refine_scores(images, scores)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, refine_scores(images.float(), scores))


def test_scores_do_not_cross_an_edge():
    images = torch.zeros(1, 3, 12, 40)
    images[..., 20:] = 1
    scores = torch.zeros(1, 1, 12, 40)
    scores[..., :10] = 1
    refined = refine_scores(images, scores, dilations=(1, 2, 4))[0, 0]
    assert refined[:, 14:20].min() > 50 * refined[:, 20:].max()


def test_sizes_of_the_result():
    images, scores = _random(1, 3, 17, 23), _random(1, 2, 9, 12)
    assert refine_scores(images, scores).shape == (1, 2, 17, 23)
    assert refine_scores(images, scores, size="scores").shape == (1, 2, 9, 12)


def test_no_step_resizes_with_aligned_corners():
    scores = torch.tensor([[[[0.0, 1.0]]]])
    refined = refine_scores(torch.zeros(1, 3, 1, 5), scores, num_steps=0)
    torch.testing.assert_close(refined[0, 0, 0], torch.tensor([0, 0.25, 0.5, 0.75, 1]))


def test_inputs_stay():
    images, scores = _random(1, 3, 8, 9), _random(1, 3, 8, 9, seed=1)
    before = images.clone(), scores.clone()
    refine_scores(images, scores)
    spread(scores, par_affinity(images), 2)
    assert torch.equal(images, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.gpu
@AFFINITIES
def test_cpu_and_gpu_agree(affinity):
    images, scores = _random(2, 3, 40, 60).float(), _random(2, 4, 40, 60, seed=1).float()
    expected = refine_scores(images, scores, affinity=affinity)
    refined = refine_scores(images.cuda(), scores.cuda(), affinity=affinity)
    assert refined.is_cuda
    torch.testing.assert_close(refined.cpu(), expected, rtol=0, atol=2e-5)
