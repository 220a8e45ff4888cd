"""Networks of segmentation_models_pytorch: `smp:DeepLabV3Plus/resnet50`, `smp:UPerNet/tu-…`."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.encoders import TimmUniversalEncoder, encoders

from qaclims_ray.model.checkpoints import load_exactly, read_state
from qaclims_ray.model.segmenter import SMP
from qaclims_ray.model.timm_backbone import TimmBackbone
from qaclims_ray.model.weights import find_weights, load_but_head

TIMM = "tu-"
"""Prefix of timm's names of encoders in smp."""
ARCHITECTURES: dict[str, Callable[..., SegmentationModel]] = dict(smp.MODEL_ARCHITECTURES_MAPPING)
"""Classes of networks by their names in small letters."""
_HEAD = "segmentation_head."
_FAILURES = (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError)
"""Errors of smp and timm for encoders that do not go with an architecture, and for downloads."""


def smp_net(name: str, num_labels: int, *, weights: str | None) -> SegmentationModel:
    """Build a network of segmentation_models_pytorch.

    Args:
        name: `smp:<architecture>/<encoder>`; timm's encoders are `tu-<timm name>`.
        num_labels: classes and background.
        weights: None (random). `pretrained`: the encoder's weights on ImageNet (of `tu-` encoders:
            those of the tag in their name). Another tag of smp's, such as `swsl`. Or a file, or a
            folder or Hub id that has a `model.safetensors`: of the encoder in its library's
            names, or of the whole network, whose head is left out where it has other labels.

    Raises:
        ValueError: unknown architecture, encoder or tag; an encoder that does not go with the
            architecture; weights of another network, or that cannot be had.
    """
    architecture, encoder = split_name(name)
    tags = encoder_tags(encoder)
    is_timm = encoder.startswith(TIMM)
    if weights == "pretrained" or (is_timm and weights == "imagenet"):
        weights = tags[0]
    try:
        net = ARCHITECTURES[architecture.lower()](
            encoder_name=encoder,
            encoder_weights=(is_timm or weights) if weights in tags else None,
            classes=num_labels,
        )
    except _FAILURES as error:
        raise ValueError(
            f"{name} with weights {weights!r}: {type(error).__name__}: {error}"
        ) from error
    if weights is not None and weights not in tags:
        _load(net, find_weights(weights, legal=tags))
    return net


def split_name(name: str) -> tuple[str, str]:
    """Architecture and encoder of `smp:<architecture>/<encoder>`.

    Raises:
        ValueError: another form, or an architecture or encoder that there is not.
    """
    form = re.fullmatch(rf"{SMP}(\w+)/([\w.+-]+)", name)
    if form is None:
        raise ValueError(f"{name!r} is not of the form smp:<architecture>/<encoder>")
    architecture, encoder = form.groups()
    if architecture.lower() not in ARCHITECTURES:
        raise ValueError(
            f"smp has no architecture {architecture!r}; it has {sorted(ARCHITECTURES)}"
        )
    tagged = "." in encoder
    timms = (f"{TIMM}{name}" for name in timm.list_models(pretrained=tagged))
    legal = [*encoders, *timms]
    if encoder not in legal:
        near = difflib.get_close_matches(encoder, legal, n=3)
        raise ValueError(f"smp has no encoder {encoder!r}; near: {near}")
    return architecture, encoder


def encoder_tags(encoder: str) -> list[str]:
    """Names of the published weights of an encoder, those on ImageNet first."""
    if encoder.startswith(TIMM):
        return ["pretrained"]
    return sorted(encoders[encoder]["pretrained_settings"], key=lambda tag: tag != "imagenet")


def _load(net: SegmentationModel, path: Path) -> None:
    state = read_state(path)
    encoder: Any = net.encoder
    if any(name.startswith(_HEAD) for name in state):
        load_but_head(net, state, _HEAD, str(path))
    elif isinstance(encoder, TimmUniversalEncoder):
        TimmBackbone(encoder.model).load(path)
    else:
        own = encoder.state_dict()
        load_exactly(encoder, {n: v for n, v in state.items() if n in own}, str(path))
