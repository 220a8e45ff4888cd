import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from qaclims_ray.model.cam_net import CamNet, build_cam_net
from qaclims_ray.model.checkpointed import checkpoint_activations
from qaclims_ray.model.multiscale import multiscale_cams
from qaclims_ray.model.timm_backbone import timm_backbone
from qaclims_ray.model.vit_backbone import VitBackbone


def make_vit(patch=16, side=160, name="test_vit"):
    torch.manual_seed(0)
    net = timm.create_model(name, patch_size=patch, img_size=side, dynamic_img_size=True)
    torch.nn.init.normal_(net.pos_embed)
    return net


@pytest.mark.parametrize("patch", [8, 14, 16])
def test_each_patch_is_a_cell(patch):
    net = VitBackbone(make_vit(patch, 8 * patch)).eval()
    assert net.stride == patch
    for height, width in [(3 * patch, 5 * patch), (2 * patch + 1, 4 * patch + 1), (1, 37)]:
        cells = (-(-height // patch), -(-width // patch))
        assert net(torch.randn(2, 3, height, width)).shape == (2, net.num_features, *cells)


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "deit_tiny_patch16_224"])
def test_the_map_holds_the_normalised_features_of_the_patches_alone(name):
    """Class tokens (test_vit), registers, norms of pooled features (test_vit2), attention pools."""
    net = timm.create_model(name).eval()
    side = net.patch_embed.img_size[0]
    images = torch.randn(1, 3, side, side)
    tokens = net.fc_norm(net.forward_features(images))[:, net.num_prefix_tokens :]
    backbone = VitBackbone(timm.create_model(name, dynamic_img_size=True)).eval()
    backbone.net.load_state_dict(
        {n.replace("fc_norm", "norm"): v for n, v in net.state_dict().items()}, strict=False
    )
    features = backbone(images)
    torch.testing.assert_close(features.flatten(2).mT, tokens)
    features.square().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_position_embeddings_are_interpolated_to_the_grid_of_the_image():
    whole = make_vit().eval()
    images = torch.randn(1, 3, 48, 112)
    fixed = timm.create_model("test_vit", img_size=(48, 112)).eval()
    state = dict(whole.state_dict())
    state["pos_embed"] = resample_abs_pos_embed(whole.pos_embed, [3, 7], [10, 10])
    fixed.load_state_dict(state)
    expected = fixed.forward_features(images)[:, 1:].mT.reshape(1, -1, 3, 7)
    torch.testing.assert_close(VitBackbone(whole)(images), expected)


def test_the_maps_of_an_image_and_its_mirror_image_cover_the_same_cells():
    """On 18 pixels, padding would move the mirrored map by most of a cell."""
    net = VitBackbone(make_vit()).eval()
    net.net.forward_intermediates = lambda images, *_, **__: [torch.nn.AvgPool2d(16)(images)]
    images = torch.randn(1, 3, 18, 35)
    torch.testing.assert_close(net(images.flip(-1)).flip(-1), net(images))


@pytest.mark.parametrize("side", [160, 96])
def test_a_file_in_timms_names_fills_the_backbone_whatever_its_grid(tmp_path, side):
    whole = make_vit(side=side)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    net = build_cam_net("timm:test_vit", 3, tmp_path / "whole.safetensors")
    grid = [side // 16] * 2
    expected = resample_abs_pos_embed(whole.pos_embed, [10, 10], grid)
    torch.testing.assert_close(net.backbone.net.pos_embed, expected)
    torch.testing.assert_close(
        net.backbone.net.blocks[-1].mlp.fc1.weight, whole.blocks[-1].mlp.fc1.weight
    )


def test_a_file_in_dinov2s_names_fills_the_backbone(tmp_path):
    """Facebook's files have a mask token and names of their own for some layers."""
    net = timm_backbone("test_vit")
    state = {n: torch.randn_like(v) for n, v in net.net.state_dict().items()}
    torch.save({**state, "mask_token": torch.zeros(1, 64)}, tmp_path / "dinov2.pth")
    net.load(tmp_path / "dinov2.pth")
    assert all(torch.equal(value, state[name]) for name, value in net.net.state_dict().items())


def test_the_norm_of_pooled_features_is_found_in_a_file(tmp_path):
    whole = timm.create_model("test_vit2")
    torch.nn.init.normal_(whole.fc_norm.weight)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    net = build_cam_net("timm:test_vit2", 3, tmp_path / "whole.safetensors")
    assert torch.equal(net.backbone.net.norm.weight, whole.fc_norm.weight)


@pytest.mark.parametrize("other", ["resnet10t", "test_vit2"])
def test_weights_of_another_network_are_an_error(tmp_path, other):
    save_file(timm.create_model(other).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors do not fit: \d+ of \d+ tensors"):
        build_cam_net("timm:test_vit", 3, tmp_path / "other.safetensors")


def test_patches_of_32_pixels_are_too_coarse():
    with pytest.raises(ValueError, match="vit_base_patch32_224 has patches of 32 pixels") as error:
        timm_backbone("vit_base_patch32_224")
    assert "timm:vit_small_patch14" in str(error.value)


def test_the_network_is_built_without_memory():
    with torch.device("meta"):
        net = timm_backbone("vit_small_patch14_dinov2")
    assert (net.stride, net.num_features) == (14, 384)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_cams_of_images_of_any_size():
    net = CamNet(VitBackbone(make_vit(14, 56)), 2).eval()
    labels = torch.tensor([[1.0, 0], [1, 1]])
    cams = multiscale_cams(net, torch.randn(2, 3, 45, 70), labels, scales=(1.0, 0.5, 1.5))
    assert cams.shape == (3, 1, 12, 18)
    assert cams.isfinite().all()


def test_activation_checkpoints_change_no_gradient():
    images = torch.randn(2, 3, 40, 50)
    gradients = []
    for kept in (False, True):
        net = VitBackbone(make_vit(14, 56)).train()
        if kept:
            checkpoint_activations(net.parts())
        net(images).square().sum().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
    torch.testing.assert_close(*gradients)
