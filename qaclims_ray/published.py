"""Published files into a run, in place of its own stages, and its CAM networks back out."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from safetensors.torch import load, save, save_file

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.experiment import load as load_config
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.corpus.published import import_corpus
from qaclims_ray.model import checkpoints
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.clip import load_clip, save_clip
from qaclims_ray.model.irn import Irn
from qaclims_ray.model.resnet import resnet50
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.images import class_names
from qaclims_ray.storage.files import read_bytes, write_bytes
from qaclims_ray.train.networks import MODEL

OVSEG_MODEL, OVSEG_DEPTH = "ViT-L-14-quickgelu", 3
"""What OVSeg's published checkpoint is a CLIP of, and its number of mask embeddings."""
PUBLISHED_BACKBONE = "resnet50"

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "corpus": (("FG.npy", "BG.npy"), "published VQA answers as the artifact corpus"),
    "classifier": (("CHECKPOINT",), "a published res50_cam.pth as the artifact classifier"),
    "cam_net": (("CHECKPOINT",), "a published res50_qa_clims.pth as the artifact cam_net"),
    "export": (("NETWORK", "CHECKPOINT"), "classifier or cam_net as the published code loads it"),
    "clip": (("CHECKPOINT", "DIRECTORY"), "OVSeg's checkpoint as a CLIP for model.clip.model"),
    "irn": (("CHECKPOINT", "FILE"), "a published boundary network in our names"),
}
"""What can be imported: its files, and what becomes of them."""


def run(options: Mapping[str, Any]) -> Iterator[str]:
    """Import or export what the options ask for, and say so line by line.

    Args:
        options: files of each of `KINDS`, None where it isn't wanted; `config`, a YAML file or
            None; `overrides`, texts `key=value`; `overwrite`.

    Raises:
        ValueError: a run is needed and there is no `config`; files that don't fit.
    """
    wanted = {kind: options[kind] for kind in KINDS if options[kind] is not None}
    for kind, convert_files in (("clip", convert_clip), ("irn", convert_irn)):
        if kind in wanted:
            yield convert_files(*wanted.pop(kind))
    if not wanted:
        return
    if options["config"] is None:
        raise ValueError(f"{sorted(wanted)} need --config FILE, the run that they belong to")
    experiment = load_config(options["config"], parse_overrides(options["overrides"]))
    for kind, files in wanted.items():
        if kind == "export":
            yield export_net(experiment, network=files[0], checkpoint=files[1])
        elif kind == "corpus":
            yield import_corpus(experiment, files, options["overwrite"])
        else:
            yield import_net(experiment, kind, files[0], options["overwrite"])


def import_net(experiment: Experiment, network: str, checkpoint: str, overwrite: bool) -> str:
    """Fill the artifact `classifier` or `cam_net` from a published CAM checkpoint."""
    return make(experiment, network, partial(_net, experiment, checkpoint), overwrite)


def _net(experiment: Experiment, checkpoint: str, target: Artifact) -> Built:
    names = class_names(artifact(experiment, "images"))
    net = build_cam_net(experiment.model.backbone, len(names))
    state = checkpoints.from_published_cam(checkpoints.read_state(checkpoint))
    checkpoints.load_exactly(net, state, checkpoint)
    write_bytes(f"{target.uri}/{MODEL}", save(net.state_dict()))
    return Built(0, 0, {"class_names": list(names), "imported": [checkpoint]})


def export_net(experiment: Experiment, network: str, checkpoint: str) -> str:
    """Write a run's `classifier` or `cam_net` as a checkpoint that the published code loads.

    Raises:
        ValueError: its backbone is not the published one, or it is not made yet.
    """
    backbone = experiment.model.backbone
    if backbone != PUBLISHED_BACKBONE:
        raise ValueError(
            f"the published code loads {PUBLISHED_BACKBONE} only, and the run's backbone is "
            f"{backbone!r}: export a run with model.backbone={PUBLISHED_BACKBONE}"
        )
    source = artifact(experiment, network)
    source.require()
    state = load(read_bytes(f"{source.uri}/{MODEL}"))
    torch.save(checkpoints.to_published_cam(state), checkpoint)
    return f"{network}: exported · {checkpoint}"


def convert_clip(checkpoint: str, directory: str) -> str:
    """Make OVSeg's checkpoint a CLIP directory for `model.clip.model`."""
    clip = load_clip(OVSEG_MODEL, checkpoint, mask_prompt_depth=OVSEG_DEPTH)
    save_clip(clip, directory)
    return f"clip: {len(clip.state_dict())} tensors · {directory}"


def convert_irn(checkpoint: str, file: str) -> str:
    """Make a published boundary network's checkpoint a safetensors file in our names."""
    net = Irn(resnet50())
    state = checkpoints.from_published_irn(checkpoints.read_state(checkpoint))
    checkpoints.load_exactly(net, state, checkpoint)
    save_file(net.state_dict(), file)
    return f"irn: {len(state)} tensors · {file}"
