"""Checks of the models that a run names: whether their files are there, or to be had."""

import os
from collections.abc import Iterable
from pathlib import Path

from qaclims_ray.config.corpus import Blip, Chat, Vllm
from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.model.deeplab import DEEPLABV2
from qaclims_ray.model.fcn import FCN
from qaclims_ray.model.segmenter import SMP
from qaclims_ray.run.graph import inputs_of
from qaclims_ray.train.irn import backbone_of
from qaclims_ray.train.segmenter import check_supervision, located

_PRETRAINED, _BACKBONE = "model.clip.pretrained", "model.backbone_weights"
_IRN, _SEGMENTER = "train.irn.backbone_weights", "train.segmenter.weights"
_NET = "train.segmenter.net"
_CAM_CLIP, _CAM_PRETRAINED = "cams.clip.model", "cams.clip.pretrained"
WEIGHTS_SUFFIXES = {".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar"}
_OWN_NETS = (SMP, FCN, DEEPLABV2)
"""Beginnings of segmenters whose layers need no download."""


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
    from qaclims_ray.model.clip_files import empty_tower  # as in `_look_up`
    from qaclims_ray.model.clip_vit import checked_vit

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
        "/" in model or path.suffix in WEIGHTS_SUFFIXES
    ):
        return True
    if key == _SEGMENTER and path.suffix in WEIGHTS_SUFFIXES:
        return True
    return os.path.isabs(model) or model.startswith(".") or path.exists()


def _look_up(key: str, model: str, experiment: Experiment) -> None:
    """Raise an error that says why a model can't be had by its name."""
    from qaclims_ray.preflight import named_models as named  # seconds, if a run names a model

    if key == "corpus.engine.model":
        named.look_up_repository(model)
    elif key == _NET:
        named.look_up_repository(model, {".json"})
    elif key == _PRETRAINED:
        named.look_up_tag(experiment.model.clip.model, model)
    elif key == _CAM_PRETRAINED:
        named.look_up_tag(experiment.cams.clip.model, model)
    elif key == _BACKBONE:
        named.look_up_backbone(experiment.model.backbone, model)
    elif key == _IRN:
        named.look_up_backbone(backbone_of(experiment)[0], model)
    elif key == _SEGMENTER:
        named.look_up_segmenter(located(experiment.train.segmenter.net), model)
    else:
        named.look_up_clip(model)
