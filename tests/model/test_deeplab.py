import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from qaclims_ray.model import deeplab
from qaclims_ray.model.deeplab import (
    CAFFE_MEAN,
    DeepLabV2,
    deeplabv2_resnet101,
    from_published_deeplab,
    multiscale_logits,
)
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD

SMALL = (1, 1, 1, 1)


def _unit(num_in, num_out, kernel, stride=1, dilation=1, padding=0):
    conv = nn.Conv2d(num_in, num_out, kernel, stride, padding, dilation, bias=False)
    norm = nn.BatchNorm2d(num_out)
    nn.init.uniform_(norm.running_mean, -1, 1)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return nn.ModuleDict({"conv": conv, "bn": norm})


def _run(unit, x, relu=True):
    x = unit["bn"](unit["conv"](x))
    return x.relu() if relu else x


class Published(nn.Module):
    """DeepLabV2 of one block per layer, after the description, in the published names."""

    STRIDES = {"layer2": (1, 1), "layer3": (2, 1), "layer4": (1, 2), "layer5": (1, 4)}

    def __init__(self, num_labels):
        super().__init__()
        self.layer1 = nn.ModuleDict({"conv1": _unit(3, 64, 7, stride=2, padding=3)})
        num_in = 64
        for index, (name, (stride, dilation)) in enumerate(self.STRIDES.items()):
            num_out = 256 * 2**index
            inner = num_out // 4
            block = {
                "reduce": _unit(num_in, inner, 1, stride=stride),
                "conv3x3": _unit(inner, inner, 3, dilation=dilation, padding=dilation),
                "increase": _unit(inner, num_out, 1),
                "shortcut": _unit(num_in, num_out, 1, stride=stride),
            }
            self.add_module(name, nn.ModuleDict({"block1": nn.ModuleDict(block)}))
            num_in = num_out
        self.aspp = nn.ModuleDict(
            {
                f"c{i}": nn.Conv2d(num_in, num_labels, 3, 1, r, r)
                for i, r in enumerate((6, 12, 18, 24))
            }
        )

    def forward(self, images):
        x = F.max_pool2d(_run(self.layer1["conv1"], images), 3, 2, 1, ceil_mode=True)
        for name in self.STRIDES:
            block = self.get_submodule(name)["block1"]
            inner = _run(block["conv3x3"], _run(block["reduce"], x))
            x = (_run(block["increase"], inner, False) + _run(block["shortcut"], x, False)).relu()
        return sum(branch(x) for branch in self.aspp.values())


@pytest.fixture
def published():
    torch.manual_seed(3)
    return Published(4).eval()


def _both(images, mean=CAFFE_MEAN):
    """Images in [0, 1] as the published code and as ours take them."""
    ours = (images - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]
    theirs = (255 * images - torch.tensor(mean)[:, None, None]).flip(1)
    return theirs, ours


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((321, 321), [(41, 41), (21, 21), (31, 31), (41, 41)]),
        ((375, 500), [(48, 63), (24, 32), (36, 48), (48, 63)]),
    ],
)
def test_published_sizes_of_the_four_outputs(size, cells):
    """Golden `deeplab_recipe.json`, `sizes_E`."""
    net = DeepLabV2(3, depths=SMALL).eval().to("meta")
    outputs = multiscale_logits(net, torch.zeros(1, 3, *size, device="meta"))
    assert [tuple(x.shape[2:]) for x in outputs] == cells


def test_the_last_output_is_the_maximum():
    def net(images):
        return images.mean(dim=1, keepdim=True)

    images = torch.rand(2, 3, 40, 40)
    full, half, last = multiscale_logits(net, images, scales=[0.5])
    enlarged = F.interpolate(half, (40, 40), mode="bilinear")
    assert torch.equal(last, torch.maximum(full, enlarged))


def test_published_weights_give_the_published_logits(published, monkeypatch):
    mean = tuple(255 * x for x in IMAGENET_MEAN)  # else padding differs, by one grey level
    monkeypatch.setattr(deeplab, "CAFFE_MEAN", mean)
    theirs, ours = _both(torch.rand(2, 3, 90, 75), mean)
    net = DeepLabV2(4, depths=SMALL, caffe=True).eval()
    net.load_state_dict(from_published_deeplab(published.state_dict()), strict=False)
    torch.testing.assert_close(net(ours), published(theirs), rtol=1e-4, atol=1e-4)


def test_the_difference_of_the_means_is_in_the_first_norm(published):
    theirs, ours = _both(torch.rand(2, 3, 32, 32))
    net = DeepLabV2(4, depths=SMALL, caffe=True).eval()
    net.load_state_dict(from_published_deeplab(published.state_dict()), strict=False)
    stem = published.layer1["conv1"]
    inside = (..., slice(2, -2), slice(2, -2))
    actual = net.encoder.bn1(net.encoder.conv1(ours))[inside]
    torch.testing.assert_close(actual, _run(stem, theirs, relu=False)[inside], rtol=1e-4, atol=1e-4)


def test_a_published_file_is_known_by_its_names(published, tmp_path):
    state = {f"base.{n}": v for n, v in published.state_dict().items()}
    torch.save(state, tmp_path / "published.pth")
    net = deeplabv2_resnet101(4, weights=str(tmp_path / "published.pth"), depths=SMALL)
    assert net.encoder.layer2[0].conv1.stride == (2, 2)
    assert torch.equal(net.aspp[2].weight, published.aspp["c2"].weight)
    other = deeplabv2_resnet101(6, weights=str(tmp_path / "published.pth"), depths=SMALL)
    assert torch.equal(other.encoder.layer4[0].conv2.weight, net.encoder.layer4[0].conv2.weight)
    assert other.aspp[2].weight.shape[0] == 6


def test_a_saved_network_keeps_its_stride_where_it_was(published, tmp_path):
    torch.save(published.state_dict(), tmp_path / "published.pth")
    net = deeplabv2_resnet101(4, weights=str(tmp_path / "published.pth"), depths=SMALL)
    net.save_pretrained(tmp_path / "saved")
    again = deeplabv2_resnet101(4, weights=str(tmp_path / "saved"), depths=SMALL)
    images = torch.randn(1, 3, 33, 33)
    assert torch.equal(again.eval()(images), net.eval()(images))


def test_a_resnet_of_torchvision_fills_the_encoder(tmp_path):
    resnet = ResNet(Bottleneck, list(SMALL)).eval()
    save_file(resnet.state_dict(), tmp_path / "resnet.safetensors")
    net = deeplabv2_resnet101(4, weights=str(tmp_path / "resnet.safetensors"), depths=SMALL)
    assert net.encoder.layer2[0].conv2.stride == (2, 2)
    assert all(torch.equal(v, resnet.state_dict()[n]) for n, v in net.encoder.state_dict().items())


def test_all_blocks_of_the_last_layers_are_dilated():
    net = DeepLabV2(2)
    for layer, dilation in ((net.encoder.layer3, 2), (net.encoder.layer4, 4)):
        assert {block.conv2.dilation for block in layer} == {(dilation, dilation)}
        assert {block.conv2.stride for block in layer} == {(1, 1)}


def test_the_head_starts_small_and_without_bias():
    net = DeepLabV2(21, depths=SMALL)
    assert [branch.dilation[0] for branch in net.aspp] == [6, 12, 18, 24]
    assert all(0.009 < branch.weight.std() < 0.011 for branch in net.aspp)
    assert all((branch.bias == 0).all() for branch in net.aspp)


def test_weights_of_another_network_are_an_error(tmp_path):
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"do not fit: \d+ of \d+ tensors are there"):
        deeplabv2_resnet101(4, weights=str(tmp_path / "other.safetensors"), depths=SMALL)


def test_no_such_file_is_an_error():
    with pytest.raises(ValueError, match=r"weights '/no/such\.pth' are none of .*, no file"):
        deeplabv2_resnet101(4, weights="/no/such.pth", depths=SMALL)
