"""Whether weights that a segmentation network starts from were trained with pixel masks.

With such weights a score is no longer one of weak supervision. The answer comes from the names that
libraries give and from the layers in files; where neither is enough, it is unknown.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qaclims_ray.model.checkpoints import State, read_state
from qaclims_ray.model.deeplab import DEEPLABV2, IMAGENET
from qaclims_ray.model.fcn import FCN
from qaclims_ray.model.segmenter import SMP, Source


class Supervision(NamedTuple):
    """Whether the weights of a network were trained with pixel masks, and how that is known."""

    pixels: bool | None
    """None: unknown."""
    reason: str
    """How that is known, for scores and messages."""


_MASK_DATA = re.compile(
    r"(?<![a-z])(ade|ade20k|cityscapes|city|coco|cocostuff|mapillary|nyu|pascal|refcoco|sa1b|voc)"
    r"(?![a-z])"
)
"""Data sets of pixel masks, in names of files, ids and tags."""
_IMAGE_DATA = re.compile(r"(?<![a-z])(imagenet|in1k|in12k|in21k|in22k|inw21k)(?![a-z])")
"""Data sets of image labels."""
_NO_MASKS = re.compile(r"clip|openai|laion|webli|dfn|yfcc|dino|lvd|mae|ijepa")
"""Trainings by captions or by the images alone, in timm's tags."""
_SMP_TAG = re.compile(
    r"imagenet(\+5k|\+background)?|advprop|noisy-student(-475)?|ssl|swsl|instagram"
)
"""Published weights of smp's encoders, all of them classifiers."""
_MASK_CLASSES = re.compile(r"For(Semantic|Universal|Instance|Image)?Segmentation$")
_IMAGE_CLASSES = re.compile(r"For(ImageClassification|MaskedImageModeling|PreTraining)$")
"""Classes of transformers, as the configuration of a checkpoint names them."""
_DENSE = re.compile(
    r"(^|\.)(aspp|decode_head|decoder|segmentation_head)\.|(^|\.)(classifier\.\d+|fc)\.weight$"
)
"""Layers of segmentation networks, where they are convolutions."""
_LINEAR = re.compile(r"(^|\.)(_?fc|classifier|head|last_linear)(\.\w+)?\.weight$")


def pixel_supervision(name: Source, weights: str | None) -> Supervision:
    """Find out whether the weights that `build_segmenter` would load were trained with pixel masks.

    Files are read, and configurations of the Hub; nothing of them is run.

    Raises:
        ValueError: no such network, or an unreadable file.
    """
    if weights is None:
        return Supervision(pixels=False, reason="the network starts at random")
    if isinstance(name, str) and name.startswith(SMP):
        from qaclims_ray.model.smp_net import encoder_tags, split_name

        _, encoder = split_name(name)
        if weights in ("pretrained", "imagenet", *encoder_tags(encoder)):
            return _of_encoder(encoder, weights)
    if isinstance(name, str) and weights == "pretrained":
        by_name = {DEEPLABV2: IMAGENET}
        weights = "imagenet" if name.startswith(FCN) else by_name.get(name, name)
    path = Path(weights)
    if path.is_file():
        return _of_state(path.name, read_state(path))
    is_tag = weights == "imagenet" or "_Weights." in weights
    return _of_name(weights) if is_tag else _of_checkpoint(weights)


def _of_encoder(encoder: str, tag: str) -> Supervision:
    import timm

    from qaclims_ray.model.smp_net import TIMM, encoder_tags

    if not encoder.startswith(TIMM):
        tag = encoder_tags(encoder)[0] if tag == "pretrained" else tag
        if _SMP_TAG.fullmatch(tag):
            return Supervision(pixels=False, reason=f"smp's {encoder} ({tag}) is a classifier")
        return _of_name(f"{encoder} {tag}")
    config: Any = timm.get_pretrained_cfg(encoder.removeprefix(TIMM))
    tag = str(config and config.tag)
    if _NO_MASKS.search(tag) and not _MASK_DATA.search(tag):
        return Supervision(pixels=False, reason=f"timm's {tag!r} was trained without masks")
    return _of_name(f"{encoder.partition('.')[0]}.{tag}")


def _of_state(name: str, state: State) -> Supervision:
    dense = [n for n, v in state.items() if _DENSE.search(n) and v.ndim == 4]
    if dense:
        reason = f"{name} has a trained segmentation layer {dense[0]}"
        return Supervision(pixels=True, reason=reason)
    linear = [n for n, v in state.items() if _LINEAR.search(n) and v.ndim == 2]
    if linear and not _MASK_DATA.search(name.lower()):
        return Supervision(pixels=False, reason=f"{name} has a classifier of images {linear[0]}")
    return _of_name(name)


def _of_checkpoint(source: str) -> Supervision:
    """Judge a folder or Hub id by the class of network that its configuration names."""
    from transformers import PretrainedConfig

    try:
        config: Mapping[str, Any] = PretrainedConfig.get_config_dict(source)[0]
    except OSError:
        return _of_name(source)
    if "_model_class" in config:
        reason = f"{source} is a {config['_model_class']} with its trained segmentation head"
        return Supervision(pixels=True, reason=reason)
    for kind in config.get("architectures") or ():
        if _MASK_CLASSES.search(kind):
            reason = f"{source} is a {kind} with its trained segmentation head"
            return Supervision(pixels=True, reason=reason)
        if _IMAGE_CLASSES.search(kind):
            return Supervision(pixels=False, reason=f"{source} is a {kind}")
    return _of_name(source)


def _of_name(name: str) -> Supervision:
    masks, images = _MASK_DATA.search(name.lower()), _IMAGE_DATA.search(name.lower())
    if masks:
        return Supervision(pixels=True, reason=f"{name!r} is named after {masks[0]}, pixel masks")
    if images:
        return Supervision(
            pixels=False, reason=f"{name!r} is named after {images[0]}, image labels"
        )
    return Supervision(pixels=None, reason=f"the training of {name!r} is unknown")
