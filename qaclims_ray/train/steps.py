"""How many images a step takes, and how many steps a training."""

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit


def section(experiment: Experiment, network: str) -> Fit:
    """The part of the configuration that says how to fit a network."""
    train = experiment.train
    return train.classifier if network == "classifier" else train.ritc


def section_key(network: str) -> str:
    """Its dotted name, for errors."""
    return "train.classifier" if network == "classifier" else "train.ritc"


def batches_per_step(experiment: Experiment, network: str) -> int:
    """Batches of a step over all workers, however many of these there are at the moment."""
    num_workers = max(1, experiment.compute.train.num_workers)
    return num_workers * section(experiment, network).accumulate


def images_per_step(experiment: Experiment, network: str) -> int:
    """The global batch."""
    fit = section(experiment, network)
    return batches_per_step(experiment, network) * fit.images_per_worker


def num_steps(experiment: Experiment, network: str, num_images: int) -> int:
    """Steps of a whole training.

    Raises:
        ValueError: there are fewer images than a step takes.
    """
    step = images_per_step(experiment, network)
    if num_images < step:
        key = section_key(network)
        raise ValueError(
            f"{network}: {num_images} images are fewer than the {step} of one step: lower "
            f"{key}.images_per_worker, {key}.accumulate or compute.train.num_workers"
        )
    return section(experiment, network).epochs * (num_images // step)
