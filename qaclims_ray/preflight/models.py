"""Checks of the models that a run names: whether their files are there, or to be had."""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from urllib.request import Request, urlopen

import open_clip
import timm
import torch
from huggingface_hub import model_info
from huggingface_hub.constants import HF_HUB_CACHE
from segmentation_models_pytorch.encoders import encoders

from qaclims_ray.config.corpus import Blip, Chat, Vllm
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.model.cam_net import IMAGENET, TIMM
from qaclims_ray.model.checkpoints import PUBLISHED_IMAGENET
from qaclims_ray.model.clip import empty_tower
from qaclims_ray.model.clip_vit import checked_vit
from qaclims_ray.model.deeplab import DEEPLABV2
from qaclims_ray.model.deeplab import IMAGENET as DEEPLAB_IMAGENET
from qaclims_ray.model.fcn import FCN
from qaclims_ray.model.segmenter import SMP, Source
from qaclims_ray.model.smp_net import TIMM as ENCODER_OF_TIMM
from qaclims_ray.model.smp_net import encoder_tags, split_name
from qaclims_ray.run.graph import inputs_of
from qaclims_ray.train.irn import backbone_of
from qaclims_ray.train.segmenter import check_supervision, located

_PRETRAINED, _BACKBONE = "model.clip.pretrained", "model.backbone_weights"
_IRN, _SEGMENTER = "train.irn.backbone_weights", "train.segmenter.weights"
_NET = "train.segmenter.net"
_CAM_CLIP, _CAM_PRETRAINED = "cams.clip.model", "cams.clip.pretrained"
_OWN_NETS = (SMP, FCN, DEEPLABV2)
"""Beginnings of segmenters whose layers need no download."""
_SUFFIXES = {".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar"}
"""Of weights files."""
_SECONDS = 20
"""That a server may take to answer."""


def model_paths(experiment: Experiment, names: Iterable[str]) -> dict[str, str]:
    """Local files and folders of models that these artifacts need, by key of the configuration."""
    found = {key: resolve(model) for key, model in _models(experiment, set(names)).items()}
    return {key: path for key, path in found.items() if _is_path(key, path)}


def model_problems(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """Models that are meant by name, and unknown or not to be had."""
    problems: list[str] = []
    for key, model in _models(experiment, set(names)).items():
        if not _is_path(key, resolve(model)):
            try:
                _look_up(key, model, experiment)
            except (OSError, RuntimeError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                problems.append(f"{key}: {model!r} is no file or folder here, {reason}")
    return problems or _tower_problems(experiment, names)


def _tower_problems(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """A CLIP that is there, but makes no CAMs."""
    if _CAM_CLIP not in _models(experiment, set(names)):
        return []
    try:
        checked_vit(empty_tower(resolve(experiment.cams.clip.model)))
    except (OSError, ValueError) as error:
        return [f"{_CAM_CLIP}: {error}"]
    return []


def without_unreachable_nets(names: Iterable[str], problems: Iterable[str]) -> list[str]:
    """Leave out the segmenter where the Hub has its layers and cannot be reached.

    To build it would try for a minute, and say the same.
    """
    lost = any(problem.startswith(f"{_NET}:") for problem in problems)
    return [name for name in names if not (lost and name == "segmenter")]


def supervision_problems(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """Return why the weights that a segmenter starts from are not allowed; they must be there."""
    if "segmenter" not in set(names):
        return []
    try:
        check_supervision(experiment.train.segmenter)
    except ValueError as error:
        return [str(error)]
    return []


def _models(experiment: Experiment, names: set[str]) -> dict[str, str]:
    engine, model = experiment.corpus.engine, experiment.model
    found: dict[str, str | None] = {}
    if "corpus" in names and isinstance(engine, (Blip, Chat, Vllm)):
        found["corpus.engine.model"] = engine.model
    if names & {"texts", "cam_net"}:
        found["model.clip.model"] = model.clip.model
        found[_PRETRAINED] = model.clip.pretrained
    made_with_texts = [name for name in names if "cam_texts" in inputs_of(experiment, name)]
    if "cam_texts" in names or made_with_texts:
        found[_CAM_CLIP] = experiment.cams.clip.model
        found[_CAM_PRETRAINED] = experiment.cams.clip.pretrained
    if "classifier" in names:
        found[_BACKBONE] = model.backbone_weights
    if "irn" in names:
        own = experiment.train.irn.backbone_weights
        found[_BACKBONE if own is None else _IRN] = backbone_of(experiment)[1]
    if "segmenter" in names:
        settings = experiment.train.segmenter
        found[_SEGMENTER] = settings.weights
        if isinstance(settings.net, str) and not settings.net.startswith(_OWN_NETS):
            found[_NET] = settings.net
    return {key: value for key, value in found.items() if value is not None}


def _is_path(key: str, model: str) -> bool:
    """Whether a model is meant as a file or folder rather than by a name."""
    path = Path(model)
    if key in (_PRETRAINED, _CAM_PRETRAINED, _BACKBONE, _IRN) and (
        "/" in model or path.suffix in _SUFFIXES
    ):
        return True
    if key == _SEGMENTER and path.suffix in _SUFFIXES:
        return True
    return os.path.isabs(model) or model.startswith(".") or path.exists()


def _look_up(key: str, model: str, experiment: Experiment) -> None:
    """Raise an error that says why a model can't be had by its name."""
    if key == "corpus.engine.model":
        _look_up_repository(model)
    elif key == _NET:
        _look_up_repository(model, {".json"})
    elif key == _PRETRAINED:
        _look_up_tag(experiment.model.clip.model, model)
    elif key == _CAM_PRETRAINED:
        _look_up_tag(experiment.cams.clip.model, model)
    elif key == _BACKBONE:
        _look_up_backbone(experiment.model.backbone, model)
    elif key == _IRN:
        _look_up_backbone(backbone_of(experiment)[0], model)
    elif key == _SEGMENTER:
        _look_up_segmenter(located(experiment.train.segmenter.net), model)
    elif model not in open_clip.list_models():
        raise ValueError("nor a model of open_clip (open_clip.list_models() lists them)")


def _look_up_tag(model: str, tag: str) -> None:
    if model not in open_clip.list_models():
        return  # a folder, which has its own weights, or an unknown model, which is said already
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise ValueError(f"nor a tag of {model}, which are {', '.join(tags)}")
    source = open_clip.get_pretrained_cfg(model, tag)
    if source.get("hf_hub"):
        _look_up_repository(os.path.dirname(str(source["hf_hub"])))
    else:
        _look_up_url(str(source["url"]), Path("~/.cache/clip").expanduser())


def _look_up_backbone(backbone: str, weights: str) -> None:
    if weights == IMAGENET and backbone.startswith(TIMM):
        source = timm.get_pretrained_cfg(backbone.removeprefix(TIMM))
        if source is not None and source.hf_hub_id:
            _look_up_repository(source.hf_hub_id)
        return
    _look_up_torchvision(PUBLISHED_IMAGENET if weights == IMAGENET else weights)


def _look_up_segmenter(net: Source, weights: str) -> None:
    """Look for weights as the library of the network does."""
    if isinstance(net, str) and net.startswith(SMP):
        _look_up_encoder(net, weights)
    elif isinstance(net, str) and net.startswith(FCN):
        _look_up_backbone(net.removeprefix(FCN), IMAGENET if weights == "pretrained" else weights)
    elif net == DEEPLABV2 and (weights in ("pretrained", IMAGENET) or "_Weights." in weights):
        _look_up_torchvision(weights if "_Weights." in weights else DEEPLAB_IMAGENET)
    elif weights != "pretrained":
        _look_up_repository(weights)
    elif isinstance(net, str):
        if not Path(net).is_dir():
            _look_up_repository(net)
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
        _look_up_repository(encoders[encoder]["pretrained_settings"][tag]["repo_id"])
    elif is_timm and weights in ("pretrained", IMAGENET):
        source = timm.get_pretrained_cfg(encoder.removeprefix(ENCODER_OF_TIMM))
        if source is None or not source.hf_hub_id:
            raise ValueError(f"nor has timm published weights of {encoder}: give a file, or null")
        _look_up_repository(source.hf_hub_id)
    elif "/" in weights:
        _look_up_repository(weights)
    else:
        raise ValueError(f"nor weights of {encoder}, which are {', '.join(tags)}")


def _look_up_torchvision(name: str) -> None:
    from torchvision.models import get_weight

    try:
        found = get_weight(name)
    except (AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"nor {IMAGENET!r}, nor weights of torchvision: {error}") from error
    _look_up_url(found.url, Path(torch.hub.get_dir()) / "checkpoints")


def _look_up_repository(name: str, suffixes: Collection[str] = _SUFFIXES) -> None:
    """A repository of the Hub of which there is a copy, or to which there is a connection."""
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
