import pytest
import torch
from torch import nn

from qaclims_ray.train.optim import build_optimizer, poly_decay, poly_factor


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_head_learns_faster_and_both_groups_decay(kind):
    backbone, head = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(
        [backbone], [head], kind=kind, learning_rate=0.5, head_factor=4.0, weight_decay=0.25
    )
    first, second = optimizer.param_groups
    assert (first["params"], first["lr"], first["weight_decay"]) == ([backbone], 0.5, 0.25)
    assert (second["params"], second["lr"], second["weight_decay"]) == ([head], 2.0, 0.25)


def test_frozen_parameters_stay():
    frozen, free = nn.Parameter(torch.ones(2), requires_grad=False), nn.Parameter(torch.ones(2))
    optimizer = build_optimizer([frozen, free], [], learning_rate=0.1)
    free.sum().backward()
    optimizer.step()
    assert torch.equal(frozen, torch.ones(2))
    assert (free < 1).all()


def test_rates_decay_in_both_groups_and_never_reach_zero():
    head = nn.Parameter(torch.ones(1))
    optimizer = build_optimizer([], [head], learning_rate=1.0)
    decay = poly_decay(optimizer, num_steps=4, power=1.0)
    rates = []
    for _ in range(6):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        decay.step()
    expected = [1.0, 0.75, 0.5, 0.25, 0.25, 0.25]
    assert rates == [[rate, 10 * rate] for rate in expected]


def test_a_single_step_has_the_full_rate():
    assert poly_factor(0, 1) == poly_factor(5, 1) == 1.0
