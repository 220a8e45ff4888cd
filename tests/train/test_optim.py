import pytest
import torch
from torch import nn

from qaclims_ray.config.train import Optimiser
from qaclims_ray.train.optim import ParameterGroup, build_optimizer, poly_decay, poly_factor


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_groups_have_their_own_rates_and_one_weight_decay(kind):
    backbone, head = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    groups = [ParameterGroup([backbone]), ParameterGroup([head], lr_multiplier=4.0)]
    optimiser = Optimiser(kind=kind, learning_rate=0.5, weight_decay=0.25)
    optimizer = build_optimizer(groups, optimiser)
    first, second = optimizer.param_groups
    assert (first["params"], first["lr"], first["weight_decay"]) == ([backbone], 0.5, 0.25)
    assert (second["params"], second["lr"], second["weight_decay"]) == ([head], 2.0, 0.25)


def test_frozen_parameters_stay():
    frozen, free = nn.Parameter(torch.ones(2), requires_grad=False), nn.Parameter(torch.ones(2))
    optimizer = build_optimizer([ParameterGroup([frozen, free])], Optimiser(learning_rate=0.1))
    free.sum().backward()
    optimizer.step()
    assert torch.equal(frozen, torch.ones(2))
    assert (free < 1).all()


def test_rates_decay_in_both_groups_and_never_reach_zero():
    parameters = nn.ParameterList([torch.ones(1), torch.ones(1)])
    groups = [ParameterGroup([parameters[0]]), ParameterGroup([parameters[1]], 10.0)]
    optimizer = build_optimizer(groups, Optimiser(learning_rate=1.0))
    decay = poly_decay(optimizer, num_steps=4, power=1.0)
    rates = []
    for _ in range(6):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        decay.step()
    expected = [1.0, 0.75, 0.5, 0.25, 0.25, 0.25]
    assert rates == [[rate, 10 * rate] for rate in expected]


def test_a_single_step_has_the_full_rate():
    assert poly_factor(0, 1, 0.9) == poly_factor(5, 1, 0.9) == 1.0
