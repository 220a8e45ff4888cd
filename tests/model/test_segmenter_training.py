import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qaclims_ray.model.segmenter import build_segmenter
from qaclims_ray.model.segmenter_predict import predict_probabilities
from qaclims_ray.model.segmenter_training import (
    averaged_weights,
    freeze_batch_norm,
    parameter_groups,
    segmentation_loss,
)

# Chance of background 3/4, of the class 1/4, at each pixel.
LOGITS = torch.tensor([math.log(3), 0.0])[None, :, None, None].expand(1, 2, 1, 4)
BACKGROUND, FOREGROUND = math.log(4 / 3), math.log(4)


def _loss(labels, balance, logits=LOGITS):
    return segmentation_loss(logits, torch.tensor([[labels]], dtype=torch.uint8), balance=balance)


def test_halves_count_equally_and_ignored_pixels_not():
    loss = _loss([0, 0, 1, 255], "halves")
    assert loss.total.item() == pytest.approx((BACKGROUND + FOREGROUND) / 2)
    assert loss.background.item() == pytest.approx(BACKGROUND)
    assert loss.foreground.item() == pytest.approx(FOREGROUND)


def test_without_balance_pixels_count_equally():
    loss = _loss([0, 0, 1, 255], "none")
    assert loss.total.item() == pytest.approx((2 * BACKGROUND + FOREGROUND) / 3)
    assert loss.foreground.item() == pytest.approx(FOREGROUND)


@pytest.mark.parametrize(
    ("labels", "total", "foreground", "background"),
    [
        ([0, 0, 255, 255], BACKGROUND / 2, 0, BACKGROUND),
        ([1, 255, 1, 1], FOREGROUND / 2, FOREGROUND, 0),
    ],
)
def test_an_absent_half_counts_zero(labels, total, foreground, background):
    loss = _loss(labels, "halves")
    assert [x.item() for x in loss] == pytest.approx([total, foreground, background])


@pytest.mark.parametrize("balance", ["halves", "none"])
def test_a_batch_that_is_all_ignored_gives_zero_and_zero_gradients(balance):
    logits = torch.randn(2, 3, 5, 5, requires_grad=True)
    labels = torch.full((2, 5, 5), 255, dtype=torch.uint8)
    loss = segmentation_loss(logits, labels, balance=balance)
    loss.total.backward()
    assert [x.item() for x in loss] == [0, 0, 0]
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_without_balance_it_is_torchs_cross_entropy(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 3, 5, generator=generator)
    labels = torch.randint(-1, 4, (2, 3, 5), generator=generator)
    labels[0, 0, 0] = 2
    labels = labels.where(labels >= 0, 255)
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(segmentation_loss(logits, labels, balance="none").total, expected)


def test_halves_do_not_change_when_one_of_them_is_repeated():
    logits = torch.randn(1, 3, 2, 4)
    labels = torch.tensor([[[0, 0, 0, 0], [1, 2, 1, 255]]])
    wide = torch.cat([logits, logits[:, :, :1]], dim=2)
    wide_labels = torch.cat([labels, labels[:, :1]], dim=1)
    loss = segmentation_loss(logits, labels, balance="halves")
    other = segmentation_loss(wide, wide_labels, balance="halves")
    torch.testing.assert_close(other.total, loss.total)


def test_coarse_logits_are_enlarged_and_half_precision_is_computed_in_single():
    logits = torch.randn(1, 3, 4, 4)
    labels = torch.randint(0, 3, (1, 16, 16))
    enlarged = F.interpolate(logits, (16, 16), mode="bilinear")
    loss = segmentation_loss(logits, labels, balance="halves")
    torch.testing.assert_close(
        loss.total, segmentation_loss(enlarged, labels, balance="halves").total
    )
    half = segmentation_loss(enlarged.bfloat16(), labels, balance="halves").total
    assert half.dtype == torch.float32


def test_a_logit_that_is_not_finite_shows():
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0, 0, 0] = torch.nan
    assert _loss([0, 1], "halves", logits).total.isnan()


RATES = {
    "learning_rate": 0.01,
    "head_lr_multiplier": 10.0,
    "bias_lr_multiplier": 2.0,
    "weight_decay": 5e-4,
}


def test_every_free_parameter_is_in_one_group(segmenter):
    next(segmenter.parameters()).requires_grad_(False)
    groups = parameter_groups(segmenter, **RATES)
    grouped = [id(p) for group in groups for p in group["params"]]
    free = {id(p) for p in segmenter.parameters() if p.requires_grad}
    assert len(grouped) == len(free)
    assert set(grouped) == free


def test_rates_and_decays_of_weights_and_biases(segmenter):
    groups = parameter_groups(segmenter, **RATES)
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    encoder = {id(p) for p in segmenter.encoder.parameters()}
    for name, parameter in segmenter.named_parameters():
        rate, decay = found[id(parameter)]
        is_bias = name.endswith("bias")
        assert rate == pytest.approx(
            0.01 * (1 if id(parameter) in encoder else 10) * (2 if is_bias else 1)
        )
        assert decay == (5e-4 if parameter.ndim > 1 else 0)


def test_published_deeplabv2_has_three_groups_and_fixed_norms():
    """Golden `deeplab_recipe.json`, `optimiser` and `bn`: 208 tensors of norms in no group."""
    net = build_segmenter("deeplabv2_resnet101", 21, weights=None)
    freeze_batch_norm(net)
    groups = parameter_groups(net, **{**RATES, "learning_rate": 2.5e-4})
    facts = {(len(g["params"]), g["lr"], g["weight_decay"]) for g in groups}
    assert facts == {(104, 2.5e-4, 5e-4), (4, 2.5e-3, 5e-4), (4, 5e-3, 0)}
    assert sum(not p.requires_grad for p in net.parameters()) == 208


def test_frozen_norms_keep_their_statistics(make_segmenter):
    net = make_segmenter("smp").train()
    freeze_batch_norm(net)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [copy.deepcopy(norm.state_dict()) for norm in norms]
    optimizer = torch.optim.SGD(parameter_groups(net, **RATES), momentum=0.9)
    net(torch.randn(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    assert norms
    for norm, state in zip(norms, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())


def _trained(net, average, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        average.update(net, step)


def test_the_average_of_weights_goes_on_exactly_after_a_break():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    average = averaged_weights(net, 0.9)
    _trained(net, average, range(1, 6))
    resumed_net = copy.deepcopy(net)
    resumed = averaged_weights(resumed_net, 0.9)
    resumed.load_state_dict(average.state_dict())
    _trained(net, average, range(6, 11))
    _trained(resumed_net, resumed, range(6, 11))
    found, expected = resumed.module.state_dict(), average.module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_the_average_starts_as_the_network_and_then_lags_behind():
    net = nn.Linear(1, 1, bias=False)
    average = averaged_weights(net, 0.5)
    for step, weight in enumerate([4.0, 8.0, 8.0], start=1):
        nn.init.constant_(net.weight, weight)
        average.update(net, step)
        if step == 1:
            assert average.module.weight.item() == 4
    keep = 1 - 2 ** (-2 / 3)  # the second step's decay; the third's is 0.5
    assert average.module.weight.item() == pytest.approx(8 - 4 * keep * 0.5)
    assert not average.module.training


def test_a_small_network_learns_two_colours_and_so_does_its_average(make_segmenter):
    net = make_segmenter("transformers", num_labels=3).train()
    labels = torch.zeros(2, 32, 32, dtype=torch.uint8)
    labels[0, :, :16], labels[1, :20], labels[:, :2] = 1, 2, 255
    colours = torch.tensor([[-1.0, 0, 0], [1, 1, 0], [0, -1, 1]])
    images = colours[labels.long() % 255].permute(0, 3, 1, 2)
    rates = {**RATES, "learning_rate": 3e-3, "head_lr_multiplier": 1.0}
    optimizer = torch.optim.AdamW(parameter_groups(net, **rates))
    average = averaged_weights(net, 0.9)
    for step in range(1, 61):
        loss = segmentation_loss(net(images), labels, balance="halves").total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(net, step)
    for trained in (net.eval(), average):
        predicted = predict_probabilities(trained, images, scales=(1.0, 2.0)).argmax(dim=1)
        assert (predicted == labels)[labels != 255].float().mean() > 0.95
