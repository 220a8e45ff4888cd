"""Networks of the published code into a run, and CAM networks out of it."""

from functools import partial

import torch

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model import checkpoints
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.irn import build_irn
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.train.validation import MODEL, weights

PUBLISHED_BACKBONE = "resnet50"
"""Backbone of the published networks."""


def import_net(experiment: Experiment, network: str, checkpoint: str, overwrite: bool) -> str:
    """Fill the artifact `classifier`, `cam_net` or `irn` from a published checkpoint.

    Raises:
        ValueError: the checkpoint holds another network than the run's.
    """
    return make(experiment, network, partial(_import, experiment, checkpoint), overwrite)


def _import(experiment: Experiment, checkpoint: str, target: Artifact) -> Built:
    names = class_names(artifact(experiment, "images"))
    state = checkpoints.read_state(checkpoint)
    if target.name == "irn":
        net = build_irn(experiment.train.irn.backbone or experiment.model.backbone)
        state = checkpoints.from_published_irn(state)
    else:
        net = build_cam_net(experiment.model.backbone, len(names))
        state = checkpoints.from_published_cam(state)
    checkpoints.load_exactly(net, state, checkpoint)
    write_bytes(f"{target.uri}/{MODEL}", weights(net), durable=True)
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
    state = checkpoints.read_tensors(f"{source.uri}/{MODEL}")
    torch.save(checkpoints.to_published_cam(state), checkpoint)
    return f"{network}: exported · {checkpoint}"
