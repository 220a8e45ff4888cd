import copy

import pytest
import torch

from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.checkpointed import checkpoint_activations
from qaclims_ray.model.resnet import freeze_batch_norm


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", ["small_resnet", "timm:resnet10t", "timm:convnext_atto"])
def test_outputs_gradients_and_statistics_are_the_same(name, fixed):
    net = build_cam_net(name, 3).train()
    saving = copy.deepcopy(net)
    checkpoint_activations(saving.backbone.parts())
    images = torch.randn(2, 3, 32, 48)
    for one in (net, saving):
        if fixed:
            freeze_batch_norm(one)
        torch.manual_seed(0)
        one(images).square().sum().backward()
    assert saving.state_dict().keys() == net.state_dict().keys()
    for own, other in zip(net.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-4)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(saving.state_dict()[key], value, rtol=0, atol=0)


def _saved_bytes(net):
    """Bytes of activations that are alive between forward and backward pass."""
    total = 0

    def pack(tensor):
        nonlocal total
        total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.randn(2, 3, 64, 64))
    return total


def test_less_is_kept():
    net = build_cam_net("resnet50", 3).train()
    plain = _saved_bytes(net)
    checkpoint_activations(net.backbone.parts())
    assert _saved_bytes(net) < 0.4 * plain
