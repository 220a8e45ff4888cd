"""Trained segmentation networks as folders in the format of their own library."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSemanticSegmentation, PreTrainedModel

from qaclims_ray.model.checkpoints import load_exactly, read_state
from qaclims_ray.model.deeplab import DeepLabV2
from qaclims_ray.model.fcn import Fcn
from qaclims_ray.model.segmenter import SMP, Segmenter
from qaclims_ray.model.smp_net import ARCHITECTURES, split_name
from qaclims_ray.model.transformers_net import FAILURES, check_loaded
from qaclims_ray.model.weights import CONFIG, WEIGHTS
from qaclims_ray.storage.records import require_record

BACKGROUND_NAME = "background"
_CLASS = "_model_class"
"""Where segmentation_models_pytorch keeps the architecture; so does ours of DeepLabV2."""
_CLASS_NAMES = "_class_names"
_OWN = (DeepLabV2, Fcn)
_CLASSES: dict[str, Any] = {net.__name__: net for net in (*ARCHITECTURES.values(), *_OWN)}
_auto: Any = AutoModelForSemanticSegmentation


def save_segmenter(net: Segmenter, folder: str | Path, class_names: Sequence[str]) -> None:
    """Save a network as its own library does: `config.json` and `model.safetensors`.

    `from_pretrained` of segmentation_models_pytorch, transformers and `DeepLabV2` read the folder.

    Args:
        net: unchanged but for the names in the configuration of a transformers network.
        folder: made if need be; files of the same names are overwritten.
        class_names: without the background, in the order of their indices.
    """
    _check_names(net.num_labels, class_names)
    folder = Path(folder)
    inner: Any = net.net
    if isinstance(inner, PreTrainedModel):
        names = (BACKGROUND_NAME, *class_names)
        inner.config.id2label = dict(enumerate(names))
        inner.config.label2id = {name: index for index, name in enumerate(names)}
    inner.save_pretrained(folder)
    if not isinstance(inner, PreTrainedModel):
        config = json.loads((folder / CONFIG).read_text())
        config |= {_CLASS: type(inner).__name__, _CLASS_NAMES: list(class_names)}
        if "encoder_weights" in config:
            config["encoder_weights"] = None  # smp would download them before it reads ours
        (folder / CONFIG).write_text(json.dumps(config, indent=2))


def load_segmenter(folder: str | Path) -> tuple[Segmenter, tuple[str, ...]]:
    """Load what `save_segmenter` wrote: the network in evaluation mode and its class names.

    Nothing is downloaded, no code of the folder is run and nothing unpickled.

    Raises:
        ValueError: no such folder, another format, or weights that do not fit its configuration.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(f"{str(folder)!r} is no segmenter: it lacks {CONFIG} or {WEIGHTS}")
    config = require_record(str(folder / CONFIG), dict[str, Any])
    load = _load_transformers if "model_type" in config else _load_built
    segmenter, class_names = load(folder, config)
    _check_names(segmenter.num_labels, class_names)
    return segmenter.eval(), class_names


def _load_built(folder: Path, config: dict[str, Any]) -> tuple[Segmenter, tuple[str, ...]]:
    """A network of smp or DeepLabV2, built from plain options that its class names itself."""
    name, class_names = config.pop(_CLASS, ""), config.pop(_CLASS_NAMES, ())
    build = _CLASSES.get(name)
    legal = () if build is None else inspect.signature(build.__init__).parameters
    if build is None or not config.keys() <= set(legal):
        raise ValueError(
            f"{str(folder / CONFIG)!r} asks for a {name!r} with {sorted(config)}; a segmenter is "
            f"one of {sorted(_CLASSES)} with {sorted(legal)}"
        )
    if build not in _OWN:
        split_name(f"{SMP}{name}/{config['encoder_name']}")
        config["encoder_weights"] = None
    net = build(**config)
    load_exactly(net, read_state(folder / WEIGHTS), str(folder))
    num_labels = config["num_labels" if build in _OWN else "classes"]
    return Segmenter(net, num_labels), tuple(class_names)


def _load_transformers(folder: Path, _: dict[str, Any]) -> tuple[Segmenter, tuple[str, ...]]:
    try:
        net, loading = _auto.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except FAILURES as error:
        raise ValueError(f"{str(folder)!r} is no segmenter: {error}") from error
    check_loaded(loading, "", str(folder))
    background, *class_names = (name for _, name in sorted(net.config.id2label.items()))
    if background != BACKGROUND_NAME:
        raise ValueError(
            f"the first label of {str(folder)!r} is {background!r}; a segmenter's is "
            f"{BACKGROUND_NAME!r}"
        )
    return Segmenter(net, net.config.num_labels), tuple(class_names)


def _check_names(num_labels: int, class_names: Sequence[str]) -> None:
    if len(class_names) != num_labels - 1:
        raise ValueError(
            f"{len(class_names)} class names for a network of {num_labels} labels: give one for "
            "each label but the background"
        )
