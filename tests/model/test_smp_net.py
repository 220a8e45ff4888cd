import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from qaclims_ray.model.smp_net import encoder_tags, smp_net, split_name


def test_a_name_holds_architecture_and_encoder():
    assert split_name("smp:DeepLabV3Plus/resnet50") == ("DeepLabV3Plus", "resnet50")
    assert split_name("smp:unet/tu-resnet10t.c3_in1k") == ("unet", "tu-resnet10t.c3_in1k")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smp:Unet", "not of the form smp:<architecture>/<encoder>"),
        ("smp:YouNet/resnet18", "no architecture 'YouNet'; it has .*'unet'"),
        ("smp:Unet/resnet19", "no encoder 'resnet19'; near: .*resnet18"),
        ("smp:Unet/tu-resnet50.a9_in1k", r"no encoder 'tu-resnet50.a9_in1k'; near: .*50.a\d_in1k"),
        ("smp:Unet/tu-resnet10x", "no encoder 'tu-resnet10x'; near: .*tu-resnet10t"),
    ],
)
def test_an_unknown_name_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        smp_net(name, 3, weights=None)


def test_an_encoder_that_cannot_keep_its_stride_is_an_error():
    with pytest.raises(ValueError, match=r"DeepLabV3Plus/tu-swin_tiny.*output_stride"):
        smp_net("smp:DeepLabV3Plus/tu-swin_tiny_patch4_window7_224", 3, weights=None)


def test_weights_that_are_no_tag_and_no_file_are_an_error():
    with pytest.raises(ValueError, match=r"none of \['imagenet', .*\], no file and no folder$"):
        smp_net("smp:FPN/resnet18", 3, weights="imagenettes")
    with pytest.raises(ValueError, match="the Hub has no such weights"):
        smp_net("smp:FPN/resnet18", 3, weights="someone/something")


def test_pretrained_is_imagenet_where_there_is_that():
    assert encoder_tags("resnet18")[0] == "imagenet"
    assert encoder_tags("resnext101_32x32d") == ["instagram"]


def test_weights_that_cannot_be_downloaded_are_a_clear_error():
    for encoder in ("resnet18", "tu-resnet10t"):
        with pytest.raises(ValueError, match=f"smp:FPN/{encoder} with weights '.*': "):
            smp_net(f"smp:FPN/{encoder}", 3, weights="pretrained")


def test_a_file_of_a_classifier_fills_the_encoder(tmp_path):
    state = resnet18().state_dict()
    save_file(state, tmp_path / "resnet18.safetensors")
    net = smp_net("smp:FPN/resnet18", 3, weights=str(tmp_path / "resnet18.safetensors"))
    assert all(torch.equal(value, state[name]) for name, value in net.encoder.state_dict().items())


def test_a_file_of_timm_fills_its_encoder(tmp_path):
    whole = timm.create_model("convnext_atto", num_classes=5).eval()
    save_file(whole.state_dict(), tmp_path / "timm.safetensors")
    net = smp_net("smp:FPN/tu-convnext_atto", 3, weights=str(tmp_path / "timm.safetensors")).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = whole.forward_intermediates(images, intermediates_only=True)[-1]
    torch.testing.assert_close(net.encoder(images)[-1], expected)


@pytest.mark.parametrize(("num_labels", "same_head"), [(3, True), (5, False)])
def test_a_folder_of_smp_fills_the_whole_network_but_a_head_of_other_labels(
    num_labels, same_head, tmp_path
):
    saved = smp.FPN("resnet18", encoder_weights=None, classes=3)
    saved.save_pretrained(tmp_path)
    net = smp_net("smp:FPN/resnet18", num_labels, weights=str(tmp_path))
    found, expected = net.state_dict(), saved.state_dict()
    for name, value in found.items():
        if same_head or not name.startswith("segmentation_head."):
            assert torch.equal(value, expected[name])
    assert net.segmentation_head[0].out_channels == num_labels


def test_weights_of_another_architecture_are_an_error(tmp_path):
    smp.Unet("resnet18", encoder_weights=None, classes=3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"do not fit: \d+ of \d+ tensors are there"):
        smp_net("smp:FPN/resnet18", 3, weights=str(tmp_path))
