"""How much is measured: the real networks, as much of them at once as the device is given."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import open_clip
import torch

from qaclims_ray.types import IGNORE

PAIRS_PER_IMAGE = 1.5
"""Pairs (image, class) in the batches that are measured; VOC's train_aug has 1.56."""


class Sizes(NamedTuple):
    """Networks, batches and number of repetitions."""

    rounds: int
    """Repetitions of each way."""
    vqa_images: int
    ritc_images: int
    classifier_images: int
    cam_images: int
    segmenter_images: int
    matrix: int = 2048
    """Side of the matrices whose product tells the device's speed."""
    blip: Mapping[str, int] | None = None
    """Narrower towers than BLIP-base's."""
    blip_side: int = 480
    """Pixels."""
    backbone: str = "resnet50"
    segmenter: str = "smp:DeepLabV3Plus/resnet50"
    radius: int = 10
    """Largest distance of the cells that the boundary network compares."""
    clip: Mapping[str, Any] | None = None
    """open_clip configuration of both CLIPs; None: the configs' ViT-L-14 for regions and ViT-B-16
    for CAMs."""
    crop: int = 512
    """Side of training images, in pixels."""
    image: tuple[int, int] = (375, 500)
    """Height and width of other images, in pixels: VOC's most frequent."""
    num_classes: int = 20


_CPU = Sizes(
    rounds=3,
    vqa_images=2,
    ritc_images=2,
    classifier_images=4,
    cam_images=2,
    segmenter_images=2,
)
_GPU = Sizes(
    rounds=10,
    vqa_images=16,
    ritc_images=4,
    classifier_images=8,
    cam_images=8,
    segmenter_images=8,
    matrix=8192,
)
_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
_QUICK = Sizes(
    rounds=2,
    vqa_images=2,
    ritc_images=2,
    classifier_images=2,
    cam_images=2,
    segmenter_images=2,
    matrix=256,
    blip={**_TOWER, "num_hidden_layers": 2},
    blip_side=32,
    backbone="small_resnet",
    segmenter="fcn:small_resnet",
    radius=5,
    clip={
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 28,
            "patch_size": 7,
            "layers": 2,
            "width": 32,
            "head_width": 16,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
    },
    crop=64,
    image=(64, 80),
)


def choose_sizes(device: torch.device, *, quick: bool) -> Sizes:
    """The configs' batches on GPUs, smaller ones on CPUs; tiny networks for a `quick` look."""
    if quick:
        return _QUICK
    return _GPU if device.type == "cuda" else _CPU


def clip_config(sizes: Sizes) -> dict[str, Any]:
    """The CLIP that judges regions, in open_clip's words."""
    return dict(sizes.clip or open_clip.get_model_config("ViT-L-14") or {})


def dense_clip_config(sizes: Sizes) -> dict[str, Any]:
    """The CLIP that makes CAMs, in open_clip's words."""
    return dict(sizes.clip or open_clip.get_model_config("ViT-B-16") or {})


def num_pairs(num_images: int) -> list[int]:
    """How many classes each image of a batch shows: 2 and 1 in turn."""
    return [2 - position % 2 for position in range(num_images)]


def labels(num_images: int, num_classes: int, device: torch.device) -> torch.Tensor:
    """Image-level labels (B, C) of such a batch."""
    result = torch.zeros(num_images, num_classes, device=device)
    for row, number in enumerate(num_pairs(num_images)):
        result[row, row % num_classes] = 1
        result[row, (row + number - 1) % num_classes] = 1
    return result


def random_seeds(num_images: int, size: tuple[int, int], num_classes: int) -> torch.Tensor:
    """Label maps (B, H, W): one object in an undecided rim on the background, in each image."""
    height, width = size
    maps = torch.zeros(num_images, height, width, dtype=torch.uint8)
    maps[:, height // 8 : height * 7 // 8, width // 8 : width * 7 // 8] = IGNORE
    for row in range(num_images):
        inner = (slice(height // 4, height * 3 // 4), slice(width // 4, width * 3 // 4))
        maps[(row, *inner)] = row % num_classes + 1
    return maps
