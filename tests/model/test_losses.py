import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.model.losses import (
    area,
    background_contrast,
    cam_cross_entropy,
    foreground_contrast,
)

LOSSES = {"foreground": foreground_contrast, "background": background_contrast}


def loop(kind, regions, foreground, background, present, temperature):
    """The published formulas, pair by pair, in Python floats."""
    losses = []
    for region, own, others, kept in zip(regions, foreground, background, present, strict=True):
        unit = region / region.norm()
        fg = math.exp(float(unit @ own) / temperature)
        bg = [math.exp(float(unit @ b) / temperature) for b in others[kept]]
        if not bg:
            losses.append(0.0)
        elif kind == "foreground":
            losses.append(-math.log(fg / (fg + sum(bg))))
        else:
            mean = sum(bg) / len(bg)
            losses.append(-math.log(mean / (mean + fg)))
    return torch.tensor(losses, dtype=torch.float64)


def random_case(seed, num_pairs, num_texts, dtype=torch.float32):
    generator = torch.manual_seed(seed)
    regions, foreground = torch.randn(2, num_pairs, 4, generator=generator, dtype=dtype)
    background = torch.randn(num_pairs, num_texts, 4, generator=generator, dtype=dtype)
    present = torch.rand(num_pairs, num_texts, generator=generator) > 0.4
    return regions, foreground, background, present


@pytest.mark.parametrize("kind", LOSSES)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4), st.floats(0.1, 2))
def test_losses_equal_a_loop_over_pairs(kind, seed, num_pairs, num_texts, temperature):
    case = random_case(seed, num_pairs, num_texts)
    losses = LOSSES[kind](*case, temperature)
    expected = loop(kind, *case, temperature)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_padding_and_the_order_of_pairs_and_texts_change_nothing(kind, seed, num_texts):
    regions, foreground, background, present = random_case(seed, 3, num_texts)
    order, texts = torch.tensor([2, 0, 1]), torch.randperm(num_texts)
    loss = LOSSES[kind](regions, foreground, background, present, 0.7)
    padded = torch.cat([background[:, texts], torch.full((3, 2, 4), 9.0)], dim=1)
    kept = torch.cat([present[:, texts], torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    other = LOSSES[kind](regions[order], foreground[order], padded[order], kept[order], 0.7)
    torch.testing.assert_close(other, loss[order])


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("num_texts", [0, 2])
def test_pairs_without_background_give_zero_and_zero_gradients(kind, num_texts):
    regions, foreground, background, present = random_case(0, 2, num_texts)
    present[:] = False
    regions.requires_grad_()
    losses = LOSSES[kind](regions, foreground, background, present, 0.7)
    losses.sum().backward()
    assert torch.equal(losses, torch.zeros(2))
    assert torch.equal(regions.grad, torch.zeros(2, 4))


@pytest.mark.parametrize("kind", LOSSES)
def test_a_pair_without_background_leaves_the_gradients_of_others(kind):
    regions, foreground, background, present = random_case(0, 2, 3)
    present[0], present[1] = False, True
    regions.requires_grad_()
    LOSSES[kind](regions, foreground, background, present, 0.7).sum().backward()
    alone = regions.detach()[1:].requires_grad_()
    LOSSES[kind](alone, foreground[1:], background[1:], present[1:], 0.7).sum().backward()
    assert torch.equal(regions.grad[0], torch.zeros(4))
    torch.testing.assert_close(regions.grad[1:], alone.grad)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_zero_feature_has_cosine_zero_and_no_gradient(kind):
    regions = torch.zeros(1, 4, requires_grad=True)
    _, foreground, background, _ = random_case(0, 1, 3)
    present = torch.ones(1, 3, dtype=torch.bool)
    loss = LOSSES[kind](regions, foreground, background, present, 0.7)
    loss.sum().backward()
    expected = {"foreground": math.log(4), "background": math.log(2)}[kind]
    torch.testing.assert_close(loss, torch.tensor([expected]))
    assert torch.equal(regions.grad, torch.zeros(1, 4))


@pytest.mark.parametrize("kind", LOSSES)
def test_low_temperatures_stay_finite(kind):
    regions, foreground, background, _ = random_case(3, 2, 3)
    present = torch.ones(2, 3, dtype=torch.bool)
    regions.requires_grad_()
    loss = LOSSES[kind](regions, 100 * foreground, 100 * background, present, 1e-3)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert regions.grad.isfinite().all()


@pytest.mark.parametrize("kind", LOSSES)
def test_bfloat16_features_are_computed_in_float32(kind):
    regions, foreground, background, present = random_case(4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[kind](regions.bfloat16(), foreground, background, present, 0.7)
    exact = LOSSES[kind](regions.bfloat16().float(), foreground, background, present, 0.7)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact)


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_are_those_of_finite_differences(kind):
    regions, foreground, background, present = random_case(5, 3, 3, torch.float64)
    regions.requires_grad_()

    def in_float64(values):  # the losses work in float32, so the step is wide
        return LOSSES[kind](values.float(), foreground, background, present, 0.7).double()

    assert torch.autograd.gradcheck(in_float64, regions, eps=1e-2, atol=1e-2, rtol=1e-2)


def test_area_is_the_mean_over_all_maps():
    assert area(torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]]])) == 0.5


def test_the_cross_entropy_of_cams_by_hand():
    """The first image names the first class; a target of 4 x 4 is averaged over 2 x 2 cells."""
    logits = torch.tensor([[[[0.0, 1], [-2, 3]], [[9, 9], [9, 9]]]]).expand(2, 2, 2, 2)
    targets = torch.zeros(2, 2, 4, 4)
    targets[:, 0, :2, :2] = 1
    targets[:, 0, 0, 2] = 1  # a quarter of its cell
    labels = torch.tensor([[1.0, 0], [0, 0]])
    cells = zip([0.0, 1, -2, 3], [1.0, 0.25, 0, 0], strict=True)
    expected = [math.log(1 + math.exp(logit)) - target * logit for logit, target in cells]
    found = cam_cross_entropy(logits, targets, labels)
    torch.testing.assert_close(found, torch.tensor(expected).mean())


def test_the_cross_entropy_of_cams_averages_over_pairs_and_has_gradients_without_any():
    logits = torch.randn(3, 4, 5, 6, requires_grad=True)
    targets = torch.rand(3, 4, 5, 6)
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    each = [
        cam_cross_entropy(
            logits[i : i + 1, c : c + 1], targets[i : i + 1, c : c + 1], torch.ones(1, 1)
        )
        for i, c in labels.nonzero()
    ]
    found = cam_cross_entropy(logits, targets, labels)
    torch.testing.assert_close(found, torch.stack(each).mean())
    none = cam_cross_entropy(logits, targets, 0 * labels)
    none.backward()
    assert none == 0
    assert (logits.grad == 0).all()
