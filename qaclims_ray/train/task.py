"""What a training is, beside the loop that all trainings share.

A new training is one file: a `Task`, a function that says which rows it learns from, and one line
in `trainings.py`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32
from torch import Tensor, nn

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.train.batches import Batch, TrainingImages
from qaclims_ray.train.optim import ParameterGroup
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
        )

    def target(self) -> Target:
        """Make what gives each image its target: its labels."""
        return LabelTargets(len(self._data.class_names))

    def scorer(self) -> Scorer[CamNet]:
        """Score the CAMs of images that have ground truth."""
        return make_scorer(self._experiment, self._fit)
