"""Look models up by their names: in the lists of their libraries, in the cache, in the network.

Imported where a run names a model at all: the libraries cost a process seconds.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.request import Request, urlopen

import open_clip
import timm
import torch
import torchvision.models as tv
from huggingface_hub import model_info
from huggingface_hub.constants import HF_HUB_CACHE
from segmentation_models_pytorch.encoders import encoders

from qaclims_ray.model.cam_net import IMAGENET, TIMM
from qaclims_ray.model.checkpoints import PUBLISHED_IMAGENET
from qaclims_ray.model.deeplab import DEEPLABV2
from qaclims_ray.model.deeplab import IMAGENET as DEEPLAB_IMAGENET
from qaclims_ray.model.fcn import FCN
from qaclims_ray.model.segmenter import SMP, Source
from qaclims_ray.model.smp_net import TIMM as ENCODER_OF_TIMM
from qaclims_ray.model.smp_net import encoder_tags, split_name
from qaclims_ray.preflight.models import WEIGHTS_SUFFIXES

_SECONDS = 20
"""That a server may take to answer."""


def look_up_clip(model: str) -> None:
    """Look for a CLIP by its name.

    Raises:
        ValueError: there is none, as for all look-ups here: the end of a sentence that begins with
            the model's name.
    """
    if model not in open_clip.list_models():
        raise ValueError("nor a model of open_clip (open_clip.list_models() lists them)")


def look_up_tag(model: str, tag: str) -> None:
    """Look for published weights of a CLIP by their tag."""
    if model not in open_clip.list_models():
        return  # a folder, which has its own weights, or an unknown model, which is said already
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise ValueError(f"nor a tag of {model}, which are {', '.join(tags)}")
    source = open_clip.get_pretrained_cfg(model, tag)
    if source.get("hf_hub"):
        look_up_repository(os.path.dirname(str(source["hf_hub"])))
    else:
        _look_up_url(str(source["url"]), Path("~/.cache/clip").expanduser())


def look_up_backbone(backbone: str, weights: str) -> None:
    """Look for weights of a backbone: `imagenet`, or an id of torchvision."""
    if weights == IMAGENET and backbone.startswith(TIMM):
        source = timm.get_pretrained_cfg(backbone.removeprefix(TIMM))
        if source is not None and source.hf_hub_id:
            look_up_repository(source.hf_hub_id)
        return
    _look_up_torchvision(PUBLISHED_IMAGENET if weights == IMAGENET else weights)


def look_up_segmenter(net: Source, weights: str) -> None:
    """Look for weights as the library of the network does."""
    if isinstance(net, str) and net.startswith(SMP):
        _look_up_encoder(net, weights)
    elif isinstance(net, str) and net.startswith(FCN):
        look_up_backbone(net.removeprefix(FCN), IMAGENET if weights == "pretrained" else weights)
    elif net == DEEPLABV2 and (weights in ("pretrained", IMAGENET) or "_Weights." in weights):
        _look_up_torchvision(weights if "_Weights." in weights else DEEPLAB_IMAGENET)
    elif weights != "pretrained":
        look_up_repository(weights)
    elif isinstance(net, str):
        if not Path(net).is_dir():
            look_up_repository(net)
    else:
        raise ValueError("nor has a configuration any: give a Hub id or a folder, or null")


def _look_up_encoder(net: str, weights: str) -> None:
    try:
        _, encoder = split_name(net)
    except ValueError:
        return  # `network_problems` says it
    tags = encoder_tags(encoder)
    is_timm = encoder.startswith(ENCODER_OF_TIMM)
    if not is_timm and weights in ("pretrained", *tags):
        tag = tags[0] if weights == "pretrained" else weights
        look_up_repository(encoders[encoder]["pretrained_settings"][tag]["repo_id"])
    elif is_timm and weights in ("pretrained", IMAGENET):
        source = timm.get_pretrained_cfg(encoder.removeprefix(ENCODER_OF_TIMM))
        if source is None or not source.hf_hub_id:
            raise ValueError(f"nor has timm published weights of {encoder}: give a file, or null")
        look_up_repository(source.hf_hub_id)
    elif "/" in weights:
        look_up_repository(weights)
    else:
        raise ValueError(f"nor weights of {encoder}, which are {', '.join(tags)}")


def _look_up_torchvision(name: str) -> None:
    try:
        found = tv.get_weight(name)
    except (AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"nor {IMAGENET!r}, nor weights of torchvision: {error}") from error
    _look_up_url(found.url, Path(torch.hub.get_dir()) / "checkpoints")


def look_up_repository(name: str, suffixes: Collection[str] = WEIGHTS_SUFFIXES) -> None:
    """Look for a repository of the Hub: a copy of it here, or a connection to it."""
    copies = Path(HF_HUB_CACHE).glob(f"models--{name.replace('/', '--')}/snapshots/*/*")
    if not any(file.suffix in suffixes for file in copies):
        _fetch(lambda: model_info(name, timeout=_SECONDS))


def _look_up_url(url: str, cache: Path) -> None:
    if not (cache / url.rpartition("/")[2]).is_file():
        _fetch(lambda: urlopen(Request(url, method="HEAD"), timeout=_SECONDS).close())


def _fetch(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # those of the Hub's HTTP client are no OSError
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"nor to be had from the network: {reason}. Download it where there is a connection, "
            "and give a path that all nodes have"
        ) from error
