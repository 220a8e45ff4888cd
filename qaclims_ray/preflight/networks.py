"""The networks that a run trains: whether there are such, and how large they are."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.irn import build_irn
from qaclims_ray.model.segmenter import build_segmenter
from qaclims_ray.run.graph import of_kind
from qaclims_ray.train.irn import backbone_of
from qaclims_ray.train.segmenter import located
from qaclims_ray.train.task import settings

_MOMENTS = {"sgd": 1, "adamw": 2}
"""Numbers that an optimiser keeps for each one that it trains."""


class Sizes(NamedTuple):
    """Bytes that a training writes at a time."""

    model: int
    checkpoint: int
    """Bytes of the model, the optimiser and the average of weights."""


def network_problems(experiment: Experiment, names: Iterable[str], num_classes: int) -> list[str]:
    """Return why networks cannot be built, one sentence each."""
    problems: list[str] = []
    for name in of_kind("network"):
        if name in set(names):
            try:
                _network(experiment, name, num_classes)
            except ValueError as error:
                problems.append(f"{_key(experiment, name)}: {str(error).strip().splitlines()[0]}")
    return list(dict.fromkeys(problems))


def sizes(experiment: Experiment, name: str, num_classes: int) -> Sizes:
    """Measure what the training of a network writes.

    Raises:
        ValueError: there is no such network.
    """
    net, fit = _network(experiment, name, num_classes), settings(experiment, name)
    model = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    trained = [tensor for tensor in net.parameters() if tensor.requires_grad]
    moments = sum(tensor.numel() * tensor.element_size() for tensor in trained)
    averages = name == "segmenter" and experiment.train.segmenter.ema_decay is not None
    return Sizes(model, (1 + averages) * model + _MOMENTS[fit.optimiser.kind] * moments)


def _network(experiment: Experiment, name: str, num_classes: int) -> nn.Module:
    """Build a network without weights and, where it can be, without memory for them."""
    try:
        with torch.device("meta"):
            return _build(experiment, name, num_classes)
    except ValueError:
        # Some networks look at values while they are built, which this device has none of.
        return _build(experiment, name, num_classes)


def _build(experiment: Experiment, name: str, num_classes: int) -> nn.Module:
    if name == "irn":
        return build_irn(backbone_of(experiment)[0])
    if name == "segmenter":
        net = located(experiment.train.segmenter.net)
        return build_segmenter(net, num_classes + 1, weights=None)
    return build_cam_net(experiment.model.backbone, num_classes)


def _key(experiment: Experiment, name: str) -> str:
    if name == "segmenter":
        return "train.segmenter.net"
    own = name == "irn" and experiment.train.irn.backbone is not None
    return "train.irn.backbone" if own else "model.backbone"
