import logging

import pytest

from qaclims_ray.config.train import Segmenter as Settings
from qaclims_ray.train.segmenter import check_supervision, facts

COCO = "DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"


def test_weights_of_pixel_masks_are_refused_unless_they_are_meant():
    settings = Settings(net="deeplabv2_resnet101", weights=COCO)
    with pytest.raises(ValueError, match=r"pixel masks \(.*named after coco") as caught:
        check_supervision(settings)
    assert "set train.segmenter.pixel_supervised_weights=true" in str(caught.value)
    check_supervision(settings.model_copy(update={"pixel_supervised_weights": True}))
    check_supervision(settings.model_copy(update={"weights": "pretrained"}))


def test_weights_of_unknown_training_are_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        check_supervision(Settings(net="deeplabv2_resnet101", weights="/nowhere/net.pth"))
    assert "whether pixel masks trained the weights is unknown" in caplog.text


@pytest.mark.parametrize(
    ("weights", "pixels", "reason"),
    [
        (None, False, "the network starts at random"),
        ("imagenet", False, "'imagenet' is named after imagenet, image labels"),
        (COCO, True, f"{COCO!r} is named after coco, pixel masks"),
        ("/nowhere/net.pth", None, "the training of '/nowhere/net.pth' is unknown"),
    ],
)
def test_the_manifest_says_what_trained_the_weights(
    make_experiment, tmp_path, weights, pixels, reason
):
    settings = {"net": "deeplabv2_resnet101", "weights": weights, "pixel_supervised_weights": True}
    found = facts(make_experiment(tmp_path, {"train.segmenter": settings}))
    assert found == {"weights": {"pixel_masks": pixels, "reason": reason}}
