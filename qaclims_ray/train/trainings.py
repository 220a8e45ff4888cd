"""The trainings that there are, and how many steps each takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.train import Fit
from qaclims_ray.train import classifier, irn, ritc, segmenter
from qaclims_ray.train.rows import Rows, TrainingSet
from qaclims_ray.train.task import Task


class Training(NamedTuple):
    """A training: where its settings are, what it learns from, and its task."""

    section: str
    """Part of the section `train` with its settings."""
    rows: Callable[[Experiment], Rows]
    """Finds the rows that it learns from; an error where an artifact that it needs is missing."""
    task: Callable[[Experiment, TrainingSet, torch.device], Task[Any]]
    """Makes its task for one worker, on its device."""
    facts: Callable[[Experiment], Tree] = lambda _: {}
    """States what else the manifest of its network keeps."""


TRAININGS: dict[str, Training] = {
    "classifier": Training("classifier", classifier.rows, classifier.ClassifierTask),
    "cam_net": Training("ritc", ritc.rows, ritc.RitcTask),
    "irn": Training("irn", irn.rows, irn.IrnTask),
    "segmenter": Training("segmenter", segmenter.rows, segmenter.SegmenterTask, segmenter.facts),
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
