"""Learning rates of each step, and the trajectory of two parameters."""

import pytest
import torch

from qaclims_ray.config.train import Optimiser
from qaclims_ray.train.optim import ParameterGroup, build_optimizer, poly_decay

LR_TOLERANCE = 1e-12
TRAJECTORY_TOLERANCE = 1e-6


def run(case):
    """Learning rates used and parameters after each step of the golden objective."""
    a = torch.tensor([1.0, -2.0], requires_grad=True)
    b = torch.tensor([0.5, 3.0], requires_grad=True)
    optimiser = Optimiser(
        learning_rate=case["lr"],
        momentum=case["sgd_momentum"],
        weight_decay=case["sgd_weight_decay"],
    )
    head = ParameterGroup([b], optimiser.head_lr_multiplier)
    optimizer = build_optimizer([ParameterGroup([a]), head], optimiser)
    decay = poly_decay(optimizer, case["max_step"], optimiser.power)
    for _ in range(case["steps"]):
        optimizer.zero_grad()
        (((a * torch.tensor([1.0, 2.0])) ** 2).sum() + b.cosh().log().sum()).backward()
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        decay.step()
        yield rates, [a.tolist(), b.tolist()]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_rates_and_trajectory(golden, index):
    case = golden("poly_lr").meta["cases"][index]
    rates, parameters = zip(*run(case), strict=True)
    expected = case["lr_sequence"]
    items = expected.items() if isinstance(expected, dict) else enumerate(expected)
    for step, value in items:
        assert rates[int(step)] == pytest.approx(value, rel=0, abs=LR_TOLERANCE)
    if case["trajectory"] is not None:
        expected = torch.tensor(case["trajectory"])
        torch.testing.assert_close(
            torch.tensor(parameters), expected, rtol=0, atol=TRAJECTORY_TOLERANCE
        )


def test_default_momentum_is_the_published_one(golden):
    case = golden("poly_lr").meta["cases"][0]
    optimizer = build_optimizer([ParameterGroup([torch.zeros(1)])], Optimiser())
    assert optimizer.param_groups[0]["momentum"] == case["sgd_momentum"]
    assert optimizer.param_groups[0]["weight_decay"] == case["sgd_weight_decay"]
