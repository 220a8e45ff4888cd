import pytest
import torch
from safetensors.torch import save_file

from qaclims_ray.model.cam_net import build_cam_net, pool_logits


@pytest.fixture
def net():
    return build_cam_net("small_resnet", 3).eval()


def test_image_logits_are_the_classified_pooled_features(net):
    images = torch.randn(2, 3, 48, 64)
    pooled = net.backbone(images).mean(dim=(2, 3))
    expected = pooled @ net.classifier.weight[:, :, 0, 0].T
    torch.testing.assert_close(net.classify(images), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(net.classify(images), pool_logits(net(images)))


def test_the_groups_hold_each_parameter_once(net):
    backbone, head = net.parameter_groups()
    assert {id(p) for p in backbone + head} == {id(p) for p in net.parameters()}
    assert len(backbone) + len(head) == len(list(net.parameters()))
    assert head == [net.classifier.weight]


def test_backbone_weights_come_from_a_file(net, tmp_path):
    save_file(net.backbone.state_dict(), tmp_path / "backbone.safetensors")
    other = build_cam_net("small_resnet", 5, tmp_path / "backbone.safetensors")
    assert torch.equal(other.backbone.layer4.conv1.weight, net.backbone.layer4.conv1.weight)


def test_weights_of_another_network_are_an_error(net, tmp_path):
    save_file(net.backbone.state_dict(), tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=r"small.safetensors do not fit: \d+ of 2\d\d tensors"):
        build_cam_net("resnet50", 5, tmp_path / "small.safetensors")


def test_missing_weights_are_an_error():
    with pytest.raises(ValueError, match=r"no weights file 'nowhere.pth'"):
        build_cam_net("small_resnet", 5, "nowhere.pth")


def test_an_unknown_torchvision_id_is_an_error():
    with pytest.raises(ValueError, match=r"no weights 'ResNet50_Weights.IMAGENET7K'"):
        build_cam_net("resnet50", 5, "ResNet50_Weights.IMAGENET7K")


def test_bfloat16_autocast_in_channels_last_is_finite(net):
    net = net.train().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(images)
    logits.float().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())
