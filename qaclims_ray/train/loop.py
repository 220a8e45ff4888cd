"""The epochs of one worker: plain torch, whoever the other workers are.

Run alone it trains on this process's device; Ray Train (stage.py) gives it a `Place` among others.

A training goes on from its last checkpoint as if it had not been interrupted: model, optimiser and
schedule are kept, and all else, the order of images, their views and torch's random state, derives
from the seed and the number of the step.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from qaclims_ray.config.compute import Workers
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.train import Fit
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.model.checkpointed import checkpoint_activations
from qaclims_ray.run.artifact import Artifact, own_artifact
from qaclims_ray.storage.files import read_bytes, write_bytes
from qaclims_ray.train.batches import Batch, Loader, TrainingImages, label_matrix
from qaclims_ray.train.fit import Fitter, Task, unwrapped
from qaclims_ray.train.log import Board, Log
from qaclims_ray.train.networks import classifier_start, ritc_start
from qaclims_ray.train.steps import batches_per_step, num_steps, section
from qaclims_ray.train.validation import BEST, MODEL, Validate, Validation, weights

State = dict[str, Any]
_T = TypeVar("_T")


class DivergedError(ValueError):
    """A loss or gradient is not finite: these settings fail with this seed, whoever tries again."""


@dataclass(frozen=True)
class Place:
    """Where one worker trains and how it keeps its state; by default alone and forgetful."""

    worker: int = 0
    num_workers: int = 1
    device: torch.device = field(
        default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    wrap: Callable[[nn.Module], nn.Module] = lambda net: net
    """Puts a network on the device and joins it with the other workers'."""
    load: Callable[[], State | None] = lambda: None
    """The last saved state."""
    save: Callable[[State, Mapping[str, float]], None] = lambda state, metrics: None
    """Keeps a state, with what is known of it; every worker calls it, worker 0's counts."""


def train(
    experiment: Experiment,
    network: str,
    table: pa.Table,
    class_names: tuple[str, ...],
    place: Place,
    validate: Validate | None = None,
) -> None:
    """Train a network from the last saved state to the last epoch; worker 0 writes the model.

    Args:
        experiment: The run.
        network: `classifier` or `cam_net`.
        table: Name, encoded image and labels of all training images.
        class_names: Names in the order of their indices.
        place: Of this worker.
        validate: Makes the scores that `validate_every` asks for.

    Raises:
        DivergedError: a loss or gradient is not finite (step and images are named).
        ValueError: the last state can't be used.
    """
    torch.manual_seed(experiment.train.seed)
    net, task = _start(experiment, network, table, class_names, place.device)
    net = _prepared(net.to(place.device), experiment.compute.train)
    fit = section(experiment, network)
    steps = num_steps(experiment, network, table.num_rows)
    fitter = Fitter(place.wrap(net), task, fit, steps)
    training = Training(experiment, network, fitter, place, _restored(fitter, place), validate)
    training.run(_loader(experiment, fit, network, table, len(class_names), place))


def _restored(fitter: Fitter, place: Place) -> State:
    """Step and scores of the last saved state, whose rest the fitter takes over."""
    try:
        state = place.load()
        if state is None:
            return {"step": 0, "scores": []}
        fitter.load_state(state["fitter"])
        return {"step": state["step"], "scores": state["scores"]}
    except (OSError, EOFError, LookupError, RuntimeError, ValueError, UnpicklingError) as error:
        reason = shorten(f"{type(error).__name__}: {error}", 300)
        raise ValueError(
            f"the last checkpoint can't be used: {reason}\n"
            "If it is damaged, or another version of torch wrote it, --overwrite trains anew."
        ) from error


class Training:
    """The steps of one worker, its log, scores and checkpoints."""

    def __init__(
        self,
        experiment: Experiment,
        network: str,
        fitter: Fitter,
        place: Place,
        state: State,
        validate: Validate | None,
    ) -> None:
        """Go on from the step of `state`."""
        self._fit = section(experiment, network)
        self._fitter = fitter
        self._place = place
        self._target = own_artifact(experiment, network)
        self._seed = experiment.train.seed
        self._every = experiment.compute.train.checkpoint_every
        self._done: int = state["step"]
        self._log = self._validation = None
        if place.worker == 0:
            tensorboard = experiment.compute.train.tensorboard
            board = Board(self._target, self._done) if tensorboard else None
            self._log = Log(self._target, self._done, board)
            self._validation = _validation(self._target, experiment, self._fit, validate, state)

    def run(self, loader: Loader) -> None:
        """Take all steps that remain; worker 0 writes the model."""
        per_epoch = loader.steps_per_epoch
        for epoch in range(self._done // per_epoch, self._fit.epochs):
            if self._log is not None:
                self._log.start(epoch)
            for waited, batches in _timed(loader.steps(epoch, self._done % per_epoch)):
                scalars = self._step(batches)
                if self._log is not None:
                    self._log.add(self._done, len(batches[0].step_rows), waited, scalars)
                self._done += 1
                if self._every and self._done % self._every == 0 and self._done % per_epoch:
                    self._save({})
            self._save(self._scores(epoch))
        if self._place.worker == 0:
            _write_model(self._target, unwrapped(self._fitter.net), self._fit)

    def _step(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        # Dropout and the like: derived too, so that a resumed training is the same.
        words = np.random.SeedSequence([self._seed, self._done, self._place.worker])
        torch.manual_seed(int(words.generate_state(1)[0]))
        try:
            return self._fitter.step(*batches)
        except FloatingPointError as error:
            raise DivergedError(
                f"{self._target.name}, step {self._done}: {error}. The last checkpoint is kept. "
                "Lower the learning rate, set optimiser.max_grad_norm, or choose precision: float32"
            ) from None

    def _scores(self, epoch: int) -> Mapping[str, float]:
        if self._validation is None or not self._validation.is_due(epoch, self._fit.epochs):
            return {}
        scores = self._validation(epoch, self._done, unwrapped(self._fitter.net))
        self._fitter.prepare()
        if self._log is not None:
            self._log.scored(self._done, scores)
        return scores

    def _save(self, scores: Mapping[str, float]) -> None:
        means = {} if self._log is None else self._log.write()
        rows = [] if self._validation is None else self._validation.rows
        state = {"fitter": self._fitter.state(), "step": self._done, "scores": rows}
        self._place.save(state, {**means, **scores})


def _validation(
    target: Artifact, experiment: Experiment, fit: Fit, validate: Validate | None, state: State
) -> Validation | None:
    if fit.validate_every is None:
        return None
    assert validate is not None, "validate_every without a function that scores"
    return Validation(target, validate(experiment, fit), fit.validate_every, state["scores"])


def _start(
    experiment: Experiment,
    network: str,
    table: pa.Table,
    class_names: tuple[str, ...],
    device: torch.device,
) -> tuple[CamNet, Task]:
    if network == "classifier":
        return classifier_start(experiment, len(class_names))
    return ritc_start(experiment, table, class_names, device)


def _prepared(net: CamNet, workers: Workers) -> CamNet:
    """The network on its device, made fast or sparing as asked; its parameters' names stay."""
    if next(net.parameters()).is_cuda:
        net = net.to(memory_format=torch.channels_last)
    if workers.checkpoint_activations:
        checkpoint_activations(net.backbone.parts())
    if workers.compile:
        net.backbone.compile()
    return net


def _loader(
    experiment: Experiment,
    fit: Fit,
    network: str,
    table: pa.Table,
    num_classes: int,
    place: Place,
) -> Loader:
    seed = experiment.train.seed
    return Loader(
        TrainingImages(table, fit.augment, seed, experiment.data.max_pixels),
        label_matrix(table, num_classes),
        seed=seed,
        num_batches=batches_per_step(experiment, network),
        images_per_batch=fit.images_per_worker,
        worker=place.worker,
        num_workers=place.num_workers,
        num_processes=experiment.compute.train.loader_processes,
    )


def _timed(items: Iterator[_T]) -> Iterator[tuple[float, _T]]:
    """Each item after the seconds that it took to come."""
    while True:
        start = time.monotonic()
        try:
            item = next(items)
        except StopIteration:
            return
        yield time.monotonic() - start, item


def _write_model(target: Artifact, net: CamNet, fit: Fit) -> None:
    best = fit.keep == "best"
    content = read_bytes(f"{target.uri}/{BEST}") if best else weights(net)
    write_bytes(f"{target.uri}/{MODEL}", content)
