import pytest
import torch

from qaclims_ray.model.segmenter import Segmenter, build_segmenter

UPERNET = {
    "model_type": "upernet",
    "backbone_config": {
        "model_type": "convnext",
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "hidden_size": 16,
}
BEIT = {
    "model_type": "beit",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 64,
    "out_indices": [1, 2, 3, 4],
}


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (43, 1), (64, 96), (75, 33)])
def test_logits_are_of_the_size_of_the_images(segmenter, size):
    logits = segmenter(torch.randn(2, 3, *size))
    assert logits.shape == (2, 4, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    "name", ["smp:UPerNet/tu-convnext_atto", "smp:PAN/tu-resnet10t", UPERNET, BEIT], ids=str
)
def test_other_architectures_take_any_size_and_all_free_parameters_learn(name):
    net = build_segmenter(name, 3, weights=None)
    assert net.training
    logits = net(torch.randn(2, 3, 45, 70))
    assert logits.shape == (2, 3, 45, 70)
    logits.square().mean().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())


def test_padding_is_below_and_on_the_right_by_the_mean_colour(make_segmenter):
    net = make_segmenter("smp")
    images = torch.zeros(1, 3, 48, 64)
    images[:, :, :35, :50] = torch.randn(1, 3, 35, 50)
    torch.testing.assert_close(net(images[:, :, :35, :50]), net(images)[:, :, :35, :50])


def test_coarse_logits_are_enlarged_bilinearly(make_segmenter):
    net = make_segmenter("transformers")
    images = torch.randn(1, 3, 64, 96)
    coarse = net.net(images).logits
    assert coarse.shape == (1, 4, 16, 24)
    enlarged = torch.nn.functional.interpolate(coarse, (64, 96), mode="bilinear")
    torch.testing.assert_close(net(images), enlarged)


def test_encoder_and_head_share_no_parameter_and_cover_all(segmenter):
    encoder = {id(p) for p in segmenter.encoder.parameters()}
    head = [p for p in segmenter.parameters() if id(p) not in encoder]
    assert encoder
    assert head
    assert any(p.shape[0] == 4 for p in head)


def test_layers_behind_the_last_features_are_frozen():
    net = build_segmenter("smp:PSPNet/resnet18", 3, weights=None)
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(".layer3." in name or ".layer4." in name for name in frozen)


@pytest.mark.parametrize(
    "encoder", ["DPT/tu-vit_tiny_patch16_224", "FPN/tu-swin_tiny_patch4_window7_224"]
)
def test_a_network_for_one_size_is_an_error(encoder):
    with pytest.raises(ValueError, match="does not take images of any size: choose another"):
        build_segmenter(f"smp:{encoder}", 3, weights=None)


def test_the_full_deeplabv2_is_resnet101_with_four_branches():
    net = build_segmenter("deeplabv2_resnet101", 21, weights=None)
    assert sum(1 for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)) == 104
    assert net.num_labels == 21
    assert isinstance(net, Segmenter)
