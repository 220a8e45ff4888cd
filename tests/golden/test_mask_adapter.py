"""Dynamic threshold masks: exactly equal."""

import pytest
import torch

from qaclims_ray.model.regions import threshold_masks


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_masks(golden, alpha):
    adapter = golden("mask_adapter")
    cams = adapter["x"].requires_grad_()
    masks = threshold_masks(cams, alpha)
    assert not masks.requires_grad
    assert torch.equal(masks, adapter[f"mask_a{alpha}"])
    assert torch.equal(cams * masks, adapter[f"maskcam_a{alpha}"])
