"""The boundary network (IRN), which learns from seeds where the objects of an image part."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import normalise
from qaclims_ray.model.irn import Irn, Relations, build_irn, mean_displacement, reduce_labels
from qaclims_ray.model.irn_losses import irn_losses, pair_labels
from qaclims_ray.model.shapes import Images
from qaclims_ray.train.batches import Batch, TrainingImages
from qaclims_ray.train.label_maps import label_map_rows
from qaclims_ray.train.optim import ParameterGroup
from qaclims_ray.train.rows import Rows
from qaclims_ray.train.sets import TrainingSet
from qaclims_ray.train.targets import LabelMapTargets
from qaclims_ray.train.task import Task
from qaclims_ray.train.validation import Scorer

_WINDOW = 512
"""Side of the windows of training images that the mean displacement is measured on (published)."""


def rows(experiment: Experiment) -> Rows:
    """Find the images that have seeds."""
    return label_map_rows(experiment, "seeds")


def backbone_of(experiment: Experiment) -> tuple[str, str | None]:
    """Return the name of the backbone and its weights; None: it is random."""
    model, own = experiment.model, experiment.train.irn
    same = own.backbone in (None, model.backbone)
    weights = own.backbone_weights or (model.backbone_weights if same else None)
    return own.backbone or model.backbone, weights


def mean_over_workers(values: Float[Tensor, "n"], weight: float) -> Float[Tensor, "n"]:
    """Average over the workers of a training, each with its weight; all of them must call it."""
    if not distributed.is_initialized():
        return values
    summed = torch.cat([values * weight, values.new_tensor([weight])])
    distributed.all_reduce(summed)
    return summed[:-1] / summed[-1]


class IrnTask(Task[Irn]):
    """Trains the boundary and displacement branches upon a fixed backbone."""

    def __init__(self, experiment: Experiment, data: TrainingSet, device: torch.device) -> None:
        self._experiment = experiment
        self._settings = experiment.train.irn
        self._data = data
        self._device = device

    def network(self) -> Irn:
        """Build the network upon its pretrained backbone."""
        backbone, weights = backbone_of(self._experiment)
        return build_irn(backbone, None if weights is None else resolve(weights))

    def parts(self, net: Irn) -> Sequence[nn.Module]:
        """Return no modules: the backbone keeps no activations, and the branches are small."""
        return []

    def parameter_groups(self, net: Irn) -> Sequence[ParameterGroup]:
        """Group the boundary branch and, at a multiple of the rate, the displacement branch."""
        edge, displacement = net.parameter_groups()
        multiplier = self._settings.optimiser.head_lr_multiplier
        return [ParameterGroup(edge), ParameterGroup(displacement, multiplier)]

    def dataset(self) -> TrainingImages:
        """Return the images with their seeds."""
        return TrainingImages(
            self._data,
            LabelMapTargets(self._experiment.data.max_side),
            self._settings.augment,
            seed=self._experiment.train.seed,
            max_pixels=self._experiment.data.max_pixels,
        )

    def loss(self, output: Relations, batch: Batch) -> Mapping[str, Tensor]:
        """Compute the terms of the loss; all workers' pairs count alike."""
        seeds, radius = reduce_labels(batch.targets), self._settings.radius
        num_pairs = mean_over_workers(pair_labels(seeds, radius).counts(), batch.weight)
        return irn_losses(output, seeds, radius, num_pairs)._asdict()

    def scorer(self) -> Scorer[Irn]:
        """Refuse: a boundary network has no score of its own."""
        raise ValueError("train.irn.validate_every: a boundary network has no score of its own")

    def finish(self, net: Irn) -> None:
        """Measure the mean displacement, which the network subtracts from then on."""

        def windows() -> Iterator[Images]:
            for row in self._data.rows(range(len(self._data))):
                pixels = decode(row["image"], max_pixels=self._experiment.data.max_pixels)
                window = torch.from_numpy(normalise(pixels[:_WINDOW, :_WINDOW]))
                yield window[None].to(self._device)

        net.mean_shift.running_mean.copy_(mean_displacement(net, windows()))
