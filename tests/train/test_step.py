import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from qaclims_ray.config.train import Fit, Optimiser
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.classifier import classifier_loss
from qaclims_ray.train.optim import ParameterGroup, build_optimizer
from qaclims_ray.train.step import Step, unwrapped


def _batch(seed=0, num_images=4):
    rng = torch.Generator().manual_seed(seed)
    return Batch(
        names=[f"i{number}" for number in range(num_images)],
        images=torch.randn(num_images, 3, 32, 32, generator=rng),
        targets=torch.eye(3)[torch.arange(num_images) % 3],
        rows=torch.arange(num_images),
        step_rows=torch.arange(num_images),
    )


def _net(seed=0):
    torch.manual_seed(seed)
    return build_cam_net("small_resnet", 3)


def _fit(**changes):
    return Fit(optimiser=Optimiser(kind="adamw", learning_rate=1e-3), **changes)


def _classify(logits, batch):
    return {"total": classifier_loss(logits, batch.targets)}


def _step(net, loss=_classify, fit=None, num_steps=2, maxima=()):
    fit = _fit() if fit is None else fit
    groups = [ParameterGroup(getattr(net, "module", net).parameters())]
    return Step(net, loss, build_optimizer(groups, fit.optimiser), fit, num_steps, maxima)


def _weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_steps_lower_the_loss():
    step = _step(_net(), num_steps=20)
    losses = [step(_batch())["total"] for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_scalars_are_the_terms_the_rate_and_the_norm_of_the_gradient():
    step = _step(_net(), num_steps=4)
    rows = [step(_batch()) for _ in range(4)]
    assert set(rows[0]) == {"total", "learning_rate", "grad_norm"}
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [1e-3 * (1 - number / 4) ** 0.9 for number in range(4)]
    )
    assert all(type(value) is float for value in rows[0].values())
    assert rows[0]["grad_norm"] > 0


def test_a_batch_is_not_changed():
    batch = _batch()
    before = copy.deepcopy(batch)
    _step(_net())(batch)
    assert batch.names == before.names
    for one, other in zip(batch[1:5], before[1:5], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_stops_it_and_names_the_images():
    def loss(logits, batch):
        return {"total": logits.sum() * float("nan"), "area": logits.mean()}

    net = _net()
    before = _weights(net)
    step = _step(net, loss, _fit(freeze_batch_norm=True))
    with pytest.raises(FloatingPointError, match=r"'total': nan, 'area': .*images \['i0', 'i1'"):
        step(_batch())
    for name, value in _weights(net).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_gradient_that_is_not_finite_stops_it_too():
    """The square root has no finite gradient at 0."""
    net = _net()
    before = _weights(net)

    def loss(logits, batch):
        return {"total": (0 * logits.square().sum()).sqrt()}

    step = _step(net, loss, _fit(freeze_batch_norm=True))
    with pytest.raises(FloatingPointError, match=r"gradient is not finite.*'i0', 'i1'"):
        step(_batch())
    for name, value in _weights(net).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_accumulated_batches_make_the_step_of_one_large_batch():
    """The loss is a mean over images, and fixed batch norms don't mix them."""
    whole = _batch(num_images=6)
    parts = [
        Batch(whole.names[i : i + 2], *(part[i : i + 2] for part in whole[1:4]), whole.rows, 1 / 3)
        for i in (0, 2, 4)
    ]
    one, other = (_step(_net(), fit=_fit(freeze_batch_norm=True)) for _ in range(2))
    scalars = other(*parts)
    for name, value in one(whole).items():
        assert scalars[name] == pytest.approx(value, rel=1e-4)
    for name, value in _weights(one.net).items():
        torch.testing.assert_close(_weights(other.net)[name], value, rtol=1e-4, atol=1e-5)


def test_scalars_of_a_step_are_means_but_for_its_maxima():
    def loss(logits, batch):
        number = batch.rows[0].float()
        zero = 0 * logits.sum()
        return {"total": zero + number, "largest": number, "mean": number}

    def batch(number, weight):
        rows = torch.full((4,), number)
        return _batch()._replace(rows=rows, weight=weight)

    step = _step(_net(), loss, maxima={"largest"})
    scalars = step(batch(3, 0.5), batch(5, 0.5), batch(9, 0.0))
    assert (scalars["total"], scalars["largest"], scalars["mean"]) == (4, 5, 4)


def test_a_step_waits_for_its_device_once(monkeypatch):
    """Tensors of torch's meta device have no numbers: whatever asks for one fails."""
    step = _step(_net().to("meta"), fit=_fit(freeze_batch_norm=True))
    monkeypatch.setattr(step, "_autocast", nullcontext)  # which knows no such device
    batches = [_batch(), _batch(1)]
    parts = step._add_gradients(batches)
    norm = step._clip_gradient()
    with pytest.raises(NotImplementedError, match="meta"):
        step._finite_scalars(parts, batches, norm)
    step._optimizer.step()


def test_gradients_are_clipped_to_the_norm_asked_for():
    """One step of plain gradient descent moves no further than rate times norm."""

    def moved(max_grad_norm):
        net = _net()
        before = torch.cat([value.detach().flatten() for value in net.parameters()])
        optimiser = Optimiser(
            learning_rate=1.0, momentum=0, weight_decay=0, max_grad_norm=max_grad_norm
        )
        norm = _step(net, fit=Fit(optimiser=optimiser), num_steps=1)(_batch())["grad_norm"]
        after = torch.cat([value.detach().flatten() for value in net.parameters()])
        return (after - before).norm().item(), norm

    distance, norm = moved(None)
    assert distance == pytest.approx(norm, rel=1e-3)
    assert moved(norm / 4) == pytest.approx((norm / 4, norm), rel=1e-3)


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_batch_normalisation_move_unless_frozen(frozen):
    net = _net()
    before = net.backbone.bn1.running_mean.clone()
    scale = net.backbone.bn1.weight.detach().clone()
    _step(net, fit=_fit(freeze_batch_norm=frozen))(_batch())
    assert torch.equal(net.backbone.bn1.running_mean, before) == frozen
    assert not torch.equal(net.backbone.bn1.weight, scale)


def test_going_on_from_a_state_is_going_on():
    straight = _step(_net(), num_steps=6)
    rows = [straight(_batch(seed)) for seed in range(6)]
    first = _step(_net(), num_steps=6)
    for seed in range(3):
        first(_batch(seed))
    resumed = _step(_net(seed=9), num_steps=6)
    resumed.load_state(copy.deepcopy(first.state()))
    assert [resumed(_batch(seed)) for seed in range(3, 6)] == rows[3:]
    for name, value in resumed.net.state_dict().items():
        torch.testing.assert_close(value, straight.net.state_dict()[name], rtol=0, atol=0)


def test_a_state_survives_a_file_without_pickled_code(tmp_path):
    step = _step(_net(), num_steps=6)
    step(_batch())
    torch.save(step.state(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = _step(_net(seed=9), num_steps=6)
    other.load_state(state)
    assert other(_batch(1)) == step(_batch(1))


def test_a_wrapped_network_is_saved_without_its_wrapper():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, images):
            return self.module(images)

    net = _net()
    step = _step(Wrapper(net))
    step(_batch())
    assert unwrapped(step.net) is net
    assert step.state()["model"].keys() == net.state_dict().keys()


def test_bfloat16_keeps_weights_and_loss_in_float32():
    net = _net()
    seen = []

    def loss(logits, batch):
        seen.append(logits.dtype)
        return _classify(logits, batch)

    _step(net, loss, _fit(precision="bfloat16"))(_batch())
    assert seen == [torch.bfloat16]
    assert all(value.dtype == torch.float32 for value in net.parameters())


def test_label_maps_are_targets_like_any_other():
    """A per-pixel loss on maps of class numbers, which keep their type on the way."""
    seen = []

    def loss(logits, batch):
        seen.append(batch.targets.dtype)
        labels = batch.targets[:, ::8, ::8].long()
        return {"total": nn.functional.cross_entropy(logits, labels, ignore_index=255)}

    maps = torch.zeros(4, 32, 32, dtype=torch.uint8)
    maps[:, :16] = 1
    maps[:, -8:] = 255
    step = _step(_net(), loss, num_steps=30)
    losses = [step(_batch()._replace(targets=maps))["total"] for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]
    assert set(seen) == {torch.uint8}


def _sum_of_squares(logits, batch):
    """A loss that is summed over its batch, as those of RITC are."""
    return {"total": (logits.mean((2, 3)) - batch.targets).square().sum()}


def _stepped(batches, statistics="batch", **changes):
    fit = _fit(batch_norm_statistics=statistics, **changes)
    net = _net()
    row = _step(net, _sum_of_squares, fit)(*batches)
    gradient = torch.cat([one.grad.flatten() for one in net.parameters() if one.grad is not None])
    return gradient, _weights(net), row


def test_statistics_of_the_step_make_accumulation_equal_workers_that_share_theirs():
    """Two workers with synchronised batch norm see both batches' statistics, and average."""
    halves = [_batch(0)._replace(weight=0.5), _batch(1)._replace(weight=0.5)]
    images = torch.cat([half.images for half in halves])
    targets = torch.cat([half.targets for half in halves])
    whole = _batch(0, 8)._replace(images=images, targets=targets, weight=0.5)
    expected, weights, row = _stepped([whole])
    gradient, made, accumulated = _stepped(halves, "step")
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(made, weights, rtol=1e-3, atol=1e-4)
    assert accumulated["total"] == pytest.approx(row["total"] / 2)
    moved = [value for name, value in made.items() if name.endswith("num_batches_tracked")]
    assert {value.item() for value in moved} == {1}


def test_statistics_of_each_batch_make_another_gradient():
    halves = [_batch(0)._replace(weight=0.5), _batch(1)._replace(weight=0.5)]
    gradient, made, _ = _stepped(halves)
    shared, _, _ = _stepped(halves, "step")
    assert (gradient - shared).norm() > 0.05 * shared.norm()
    assert {v.item() for n, v in made.items() if n.endswith("num_batches_tracked")} == {2}
    frozen, _, _ = _stepped(halves, freeze_batch_norm=True)
    alike, _, _ = _stepped(halves, "step", freeze_batch_norm=True)
    torch.testing.assert_close(frozen, alike, rtol=1e-3, atol=1e-5)


def test_a_batch_without_weight_has_no_part_in_the_statistics():
    expected, _, _ = _stepped([_batch(0)], "step")
    gradient, _, row = _stepped([_batch(0), _batch(1)._replace(weight=0.0)], "step")
    torch.testing.assert_close(gradient, expected)
    assert row["total"] > 0
