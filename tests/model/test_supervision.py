import re

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18, vgg11
from torchvision.models.segmentation import fcn_resnet50
from transformers import SegformerConfig, SegformerForImageClassification, SegformerModel

from qaclims_ray.model.deeplab import DeepLabV2
from qaclims_ray.model.supervision import pixel_supervision
from qaclims_ray.model.transformers_net import transformers_net


@pytest.mark.parametrize(
    ("name", "weights", "pixels", "reason"),
    [
        ("smp:FPN/resnet18", None, False, "starts at random"),
        ({"model_type": "segformer"}, None, False, "starts at random"),
        ("smp:FPN/resnet18", "pretrained", False, r"resnet18 \(imagenet\) is a classifier"),
        ("smp:FPN/resnet18", "swsl", False, r"\(swsl\) is a classifier"),
        ("smp:FPN/efficientnet-b0", "advprop", False, r"\(advprop\) is a classifier"),
        ("smp:FPN/tu-resnet50.a1_in1k", "pretrained", False, "named after in1k"),
        ("smp:FPN/tu-resnet50", "imagenet", False, "named after in1k"),
        (
            "smp:FPN/tu-vit_base_patch16_clip_224.openai",
            "pretrained",
            False,
            "'openai' was trained without masks",
        ),
        (
            "smp:FPN/tu-samvit_base_patch16.sa1b",
            "pretrained",
            True,
            "named after sa1b, pixel masks",
        ),
        (
            "smp:FPN/tu-vit_so400m_patch14_siglip_gap_448.pali_refcoco_seg",
            "pretrained",
            True,
            "after refcoco",
        ),
        ("deeplabv2_resnet101", "imagenet", False, "image labels"),
        ("fcn:resnet50", "pretrained", False, "image labels"),
        (
            "deeplabv2_resnet101",
            "pretrained",
            False,
            "ResNet101_Weights.IMAGENET1K_V1' is named after imagenet",
        ),
        ("deeplabv2_resnet101", "ResNet101_Weights.IMAGENET1K_V2", False, "image labels"),
        (
            "deeplabv2_resnet101",
            "DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1",
            True,
            "after coco",
        ),
        ("deeplabv2_resnet101", "weights/deeplabv1_resnet101-coco.pth", True, "after coco"),
        ("deeplabv2_resnet101", "deeplabv1_resnet101-imagenet.pth", False, "after imagenet"),
        ("nvidia/segformer-b0-finetuned-ade-512-512", "pretrained", True, "after ade"),
        ("nvidia/segformer-b1-finetuned-cityscapes-1024-1024", "pretrained", True, "cityscapes"),
        (
            "someone/shadecocoon-finetuned",
            "pretrained",
            None,
            "the training of .someone/shadecocoon-finetuned. is unknown",
        ),
        ("smp:FPN/resnet18", "someone/model", None, "the training of .someone/model. is unknown"),
    ],
)
def test_names_tell_what_is_known(name, weights, pixels, reason):
    """Without a connection: what the Hub's configurations tell, is tested with folders below."""
    found = pixel_supervision(name, weights)
    assert found.pixels is pixels
    assert re.search(reason, found.reason)


def _saved(state, path):
    save_file({n: v.contiguous() for n, v in state.items()}, path)
    return str(path)


@pytest.mark.parametrize("build", [resnet18, vgg11])
def test_a_file_with_a_classifier_of_images_saw_no_masks(build, tmp_path):
    path = _saved(build().state_dict(), tmp_path / "weights.safetensors")
    found = pixel_supervision("smp:FPN/resnet18", path)
    assert found.pixels is False
    assert "classifier of images" in found.reason


@pytest.mark.parametrize(
    "build",
    [
        lambda: smp.FPN("resnet18", encoder_weights=None),
        lambda: DeepLabV2(3, depths=(1, 1, 1, 1)),
        lambda: fcn_resnet50(weights_backbone=None),
        lambda: torch.nn.ModuleDict({"fc": torch.nn.Conv2d(8, 91, 1)}),
    ],
    ids=["smp", "deeplabv2", "torchvision", "deeplabv1"],
)
def test_a_file_with_a_segmentation_layer_saw_masks(build, tmp_path):
    path = _saved(build().state_dict(), tmp_path / "imagenet.safetensors")
    found = pixel_supervision("deeplabv2_resnet101", path)
    assert found.pixels is True
    assert "trained segmentation layer" in found.reason


@pytest.mark.parametrize(
    ("file", "pixels"),
    [
        ("encoder", None),
        ("encoder-imagenet", False),
        ("encoder_coco", True),
        ("voc12_imagenet", True),
    ],
)
def test_a_file_with_an_encoder_alone_tells_by_its_name_at_most(file, pixels, tmp_path):
    state = {n: v for n, v in resnet18().state_dict().items() if not n.startswith("fc.")}
    path = _saved(state, tmp_path / f"{file}.safetensors")
    assert pixel_supervision("smp:FPN/resnet18", path).pixels is pixels


def test_a_folder_tells_by_the_class_of_its_network(segformer, tmp_path):
    options = {k: v for k, v in segformer.items() if k != "model_type"}
    config = SegformerConfig(**options)
    nets = {
        False: SegformerForImageClassification(config),
        True: transformers_net(segformer, 3, weights=None),
        None: SegformerModel(config),
    }
    for pixels, net in nets.items():
        net.save_pretrained(tmp_path / str(pixels))
        found = pixel_supervision(str(tmp_path / str(pixels)), "pretrained")
        assert found.pixels is pixels
        if pixels is not None:
            assert type(net).__name__ in found.reason


def test_a_folder_of_a_whole_smp_network_saw_masks(tmp_path):
    smp.FPN("resnet18", encoder_weights=None, classes=3).save_pretrained(tmp_path)
    found = pixel_supervision("smp:FPN/resnet18", str(tmp_path))
    assert found.pixels is True
    assert "FPN with its trained segmentation head" in found.reason
