"""The trainings that there are, and how many steps each takes."""

from importlib import import_module
from typing import Any, NamedTuple

import torch

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.train import Fit
from qaclims_ray.train.rows import Rows
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.train.task import Task


class Training(NamedTuple):
    """A training: where its settings are, and its module, imported when it is used.

    Each module needs other libraries, and a worker that imports all of them starts seconds later.
    """

    section: str
    """Part of the section `train` with its settings, and module of this folder."""
    task_class: str
    """Name of its `Task` in the module."""

    def rows(self, experiment: Experiment) -> Rows:
        """Find the rows that it learns from; an error where an artifact of them is missing."""
        return self._module().rows(experiment)

    def task(self, experiment: Experiment, data: TrainingSet, device: torch.device) -> Task[Any]:
        """Make its task for one worker, on its device."""
        return getattr(self._module(), self.task_class)(experiment, data, device)

    def facts(self, experiment: Experiment) -> Tree:
        """State what else the manifest of its network keeps."""
        module = self._module()
        return module.facts(experiment) if hasattr(module, "facts") else {}

    def needs_whole(self, experiment: Experiment) -> str | None:
        """Return the key by which an epoch draws from all images at a time; None: it does not."""
        module = self._module()
        return module.needs_whole(experiment) if hasattr(module, "needs_whole") else None

    def _module(self) -> Any:
        return import_module(f"qaclims_ray.train.{self.section}")


TRAININGS = {
    "classifier": Training("classifier", "ClassifierTask"),
    "cam_net": Training("ritc", "RitcTask"),
    "irn": Training("irn", "IrnTask"),
    "segmenter": Training("segmenter", "SegmenterTask"),
}
"""Each training by the name of the network that it makes."""


def section_key(network: str) -> str:
    """Return the dotted key of a training's settings, such as `train.ritc`, for errors."""
    return f"train.{TRAININGS[network].section}"


def settings(experiment: Experiment, network: str) -> Fit:
    """Return the settings of a training."""
    return getattr(experiment.train, TRAININGS[network].section)


def batches_per_step(experiment: Experiment, network: str) -> int:
    """Count the batches of a step, however few workers share them at the moment."""
    num_workers = max(1, experiment.compute.train.num_workers)
    return num_workers * settings(experiment, network).gradient_accumulation


def images_per_step(experiment: Experiment, network: str) -> int:
    """Count the images of a step, the global batch."""
    batch_size = settings(experiment, network).batch_size_per_worker
    return batches_per_step(experiment, network) * batch_size


def num_steps(experiment: Experiment, network: str, num_images: int) -> int:
    """Count the steps of a whole training.

    Raises:
        ValueError: there are fewer images than a step takes.
    """
    per_step = images_per_step(experiment, network)
    if num_images < per_step:
        key = section_key(network)
        raise ValueError(
            f"{network}: {num_images} images are fewer than the {per_step} of one step: lower "
            f"{key}.batch_size_per_worker, {key}.gradient_accumulation or compute.train.num_workers"
        )
    return settings(experiment, network).epochs * (num_images // per_step)
