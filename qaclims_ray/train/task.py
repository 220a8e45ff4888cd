"""What a training is, beside the loop that all trainings share, and which there are.

A new training is one file: a `Task`, a function that says which rows it learns from, and one line
in `TRAININGS`.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.run.manifest import Facts
from qaclims_ray.train.batches import Batch, TrainingImages
from qaclims_ray.train.optim import ParameterGroup
from qaclims_ray.train.rows import Row, Rows
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.train.targets import LabelTargets, Target
from qaclims_ray.train.validation import Scorer, make_scorer

Net = TypeVar("Net", bound=nn.Module)


@runtime_checkable
class Task(Protocol[Net]):
    """A training: which network learns what from which images."""

    maxima: frozenset[str] = frozenset()
    """Scalars of `loss` whose largest value over a step is logged; of all others it is the mean."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the weights, which becomes the model; None: the
    last weights do."""

    @abstractmethod
    def network(self) -> Net:
        """Build the network on the CPU, fresh or from the weights that it starts from."""

    @abstractmethod
    def parts(self, net: Net) -> Sequence[nn.Module]:
        """Return the modules, one after another, whose activations take the memory.

        With `compute.train.activation_checkpointing` the backward pass computes them again.
        """

    @abstractmethod
    def parameter_groups(self, net: Net) -> Sequence[ParameterGroup]:
        """Group all parameters by their learning rate; the rate of the first group is logged."""

    @abstractmethod
    def dataset(self) -> TrainingImages:
        """Return the training images with the targets that the loss wants."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the scalars of a batch; `total` among them is minimised, the others are logged.

        Args:
            output: Output of the network for the batch's images.
            batch: On the network's device.
        """

    def shares(self) -> Float32[np.ndarray, "N"] | None:
        """Return the share of each training image in an epoch; None: all come once."""
        return None

    def scorer(self) -> Scorer[Net]:
        """Make the function that scores the network between epochs.

        Raises:
            ValueError: nothing scores this network before it is used.
        """
        raise ValueError(
            "validate_every: this network is not scored while it trains: set it to null"
        )

    def finish(self, net: Net) -> None:
        """Set what is computed once, after the last epoch, before the model is written.

        Worker 0 alone calls it, with the network in evaluation mode and without gradients.
        """


class CamTask(Task[CamNet]):
    """What the trainings of a CAM network share: its images with labels, and its scores."""

    def __init__(self, experiment: Experiment, fit: Fit, data: TrainingSet) -> None:
        """Train on `data` by the settings `fit` of an experiment."""
        self._experiment = experiment
        self._fit = fit
        self._data = data

    def parts(self, net: CamNet) -> Sequence[nn.Module]:
        """Return the layers of the backbone."""
        return net.backbone.parts()

    def parameter_groups(self, net: CamNet) -> Sequence[ParameterGroup]:
        """Group the backbone's parameters and, at a multiple of the rate, the classifier's."""
        backbone, head = net.parameter_groups()
        multiplier = self._fit.optimiser.head_lr_multiplier
        return [ParameterGroup(backbone), ParameterGroup(head, multiplier)]

    def dataset(self) -> TrainingImages:
        """Return the images with their targets."""
        return TrainingImages(
            self._data,
            self.target(),
            self._fit.augment,
            seed=self._experiment.train.seed,
            max_pixels=self._experiment.data.max_pixels,
            beside=self.beside(),
        )

    def beside(self) -> Callable[[Row], Any] | None:
        """Make what the loss wants of an image beside its target: nothing."""
        return None

    def target(self) -> Target:
        """Make what gives each image its target: its labels."""
        return LabelTargets(len(self._data.class_names))

    def scorer(self) -> Scorer[CamNet]:
        """Score the CAMs of images that have ground truth."""
        return make_scorer(self._experiment, self._fit)


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

    def facts(self, experiment: Experiment) -> Facts:
        """State what else the manifest of its network keeps."""
        module = self._module()
        return module.facts(experiment) if hasattr(module, "facts") else Facts()

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
