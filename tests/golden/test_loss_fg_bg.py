"""Foreground and background contrast of single pairs, and their gradients."""

import pytest
import torch
import torch.nn.functional as F

from qaclims_ray.model.losses import background_contrast, foreground_contrast

CASES = [f"c{i:02d}" for i in range(18)]
LOSSES = {"fg": foreground_contrast, "bg": background_contrast}


@pytest.fixture(scope="module")
def losses(golden):
    return golden("loss_fg_bg")


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("padding", [0, 3])
def test_value_and_gradient(losses, key, kind, padding):
    case = next(c for c in losses.meta["cases"] if c["key"] == key)
    region = losses[f"{key}_region"][None].requires_grad_()
    background = F.pad(losses[f"{key}_bg_text"], (0, 0, 0, padding))[None]
    present = torch.arange(case["L"] + padding)[None] < case["L"]
    foreground = losses[f"{key}_fg_text"]
    loss = LOSSES[kind](region, foreground, background, present, case["temperature"]).sum()
    losses.check(loss, f"{key}_loss_{kind}")
    loss.backward()
    losses.check(region.grad[0], f"{key}_grad_{kind}")


def test_every_case_is_run(losses):
    assert [c["key"] for c in losses.meta["cases"]] == CASES
