import pytest
import torch
from torch import nn

from qaclims_ray.model.resnet import BACKBONES, backbone, freeze_batch_norm


@pytest.mark.parametrize("name", BACKBONES)
def test_last_map_has_the_promised_channels_and_stride(name):
    net = backbone(name).eval()
    images = torch.zeros(1, 3, 64, 96)
    *_, last = net.stages(images)
    assert last.shape == (1, net.num_features, 64 // net.stride, 96 // net.stride)
    assert torch.equal(net(images), last)


def test_an_unknown_backbone_is_an_error_that_lists_the_names():
    with pytest.raises(ValueError, match=r"'resnet5'.*'resnet50', 'small_resnet'"):
        backbone("resnet5")


def test_fixed_batch_norm_keeps_statistics_and_trains_its_scale():
    net = backbone("small_resnet").train()
    freeze_batch_norm(net)
    before = net.bn1.running_mean.clone()
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert torch.equal(net.bn1.running_mean, before)
    assert net.bn1.weight.grad.abs().sum() > 0
    assert net.training
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_training_moves_the_statistics_of_the_frozen_stem():
    net = backbone("resnet50").train()
    before = net.bn1.running_mean.clone()
    net.stages(torch.randn(2, 3, 32, 32))
    assert not net.bn1.weight.requires_grad
    assert not torch.equal(net.bn1.running_mean, before)
