import pytest
import timm
import torch
from safetensors.torch import save_file

from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.timm_backbone import timm_backbone


@pytest.mark.parametrize(
    "name",
    ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "regnety_002", "densenet121"],
)
def test_features_are_at_stride_16_and_every_free_parameter_learns(name):
    net = timm_backbone(name).eval()
    features = net(torch.randn(2, 3, 64, 96))
    assert features.shape == (2, net.num_features, 4, 6)
    assert net.stride == 16
    features.sum().backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_what_the_features_do_not_depend_on_is_frozen():
    net = timm_backbone("hrnet_w18_small").eval()
    assert any(not p.requires_grad for p in net.parameters())
    net(torch.randn(1, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_a_file_in_timms_names_fills_the_backbone(name, tmp_path):
    whole = timm.create_model(name, num_classes=7).eval()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    net = build_cam_net(f"timm:{name}", 3, tmp_path / "whole.safetensors").eval()
    dilated = timm.create_model(name, num_classes=7, output_stride=16).eval()
    dilated.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(net.backbone(images), dilated.forward_features(images))


def test_the_names_of_features_and_backbone_are_found_in_the_file(tmp_path):
    one, other = timm_backbone("convnext_atto"), timm_backbone("convnext_atto")
    save_file(one.net.state_dict(), tmp_path / "features.safetensors")
    other.load(tmp_path / "features.safetensors")
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(one.eval()(images), other.eval()(images))


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(ValueError, match=r"no model 'convnext_tiny2'; near: .*convnext_tiny"):
        build_cam_net("timm:convnext_tiny2", 3)


def test_a_windowed_transformer_is_no_backbone():
    with pytest.raises(ValueError, match="no feature maps at stride 16 of images of any size"):
        timm_backbone("swin_tiny_patch4_window7_224")


def test_weights_of_another_network_are_an_error(tmp_path):
    save_file(timm_backbone("resnet10t").net.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors do not fit: 0 of \d+ tensors"):
        build_cam_net("timm:convnext_atto", 3, tmp_path / "other.safetensors")


def test_weights_that_cannot_be_downloaded_are_a_clear_error():
    with pytest.raises(ValueError, match="timm:resnet10t: "):
        build_cam_net("timm:resnet10t", 3, "imagenet")
