"""The epochs of one worker, in plain torch: it knows neither Ray nor how workers are joined.

A training goes on from its last checkpoint as if it had not been interrupted: model, optimiser and
schedule are kept, and all else, the order of images, their views and torch's random state, derives
from the seed and the number of the step.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from qaclims_ray.config.compute import Workers
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.checkpointed import checkpoint_activations
from qaclims_ray.model.checkpoints import load_network
from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.train.batches import Batch, BatchLoader
from qaclims_ray.train.cache import Plan, buffered_set, check_order, save_whole
from qaclims_ray.train.checkpoint import Checkpointer, NoCheckpoints, State
from qaclims_ray.train.faults import DivergedError
from qaclims_ray.train.log import Log
from qaclims_ray.train.loggers import open_boards
from qaclims_ray.train.optim import build_optimizer
from qaclims_ray.train.rows import open_rows
from qaclims_ray.train.sets import TrainingSet, WholeSet
from qaclims_ray.train.step import Step, unwrapped
from qaclims_ray.train.task import TRAININGS, Task, batches_per_step, num_steps, settings
from qaclims_ray.train.validation import BEST, MODEL, MakeScorer, Validation, evaluating, weights

_T = TypeVar("_T")


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together; by default the only one."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(
        default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )

    def join(self, net: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients become those of all workers; alone, return it."""
        return net


def train_here(
    experiment: Experiment,
    network: str,
    plan: Plan,
    checkpointer: Checkpointer | None = None,
    make_scorer: MakeScorer | None = None,
) -> None:
    """Train a network in this process, without other workers.

    Args:
        experiment: The run.
        network: Name of the network in `TRAININGS`.
        plan: What it learns from.
        checkpointer: Keeps its state; None: nothing does.
        make_scorer: See `train`.
    """
    data = buffered_set(plan)
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            save_whole(plan, Path(folder, "rows"))
            data = WholeSet(open_rows(Path(folder, "rows")), plan.class_names)
    train(experiment, network, data, Worker(), checkpointer or NoCheckpoints(), make_scorer)


def train(
    experiment: Experiment,
    network: str,
    data: TrainingSet,
    worker: Worker,
    checkpointer: Checkpointer,
    make_scorer: MakeScorer | None = None,
) -> None:
    """Train a network from the last saved state to the last epoch; worker 0 writes the model.

    Args:
        experiment: The run.
        network: Name of the network in `TRAININGS`.
        data: The training images.
        worker: This process.
        checkpointer: Keeps the state.
        make_scorer: Makes the scores that `validate_every` asks for; None: the task does.

    Raises:
        DivergedError: a loss or gradient is not finite (step and images are named).
        ValueError: the last state can't be used.
    """
    task = TRAININGS[network].task(experiment, data, worker.device)
    Trainer(experiment, network, task, worker, checkpointer, make_scorer).run()


class Trainer:
    """Takes the steps of one worker, and keeps its log, scores and checkpoints."""

    def __init__(
        self,
        experiment: Experiment,
        network: str,
        task: Task[Any],
        worker: Worker,
        checkpointer: Checkpointer,
        make_scorer: MakeScorer | None = None,
    ) -> None:
        """Build the network and go on from the last saved state; arguments as for `train`."""
        fit, compute = settings(experiment, network), experiment.compute.train
        self._fit = fit
        self._seed = experiment.train.seed
        self._checkpoint_every = compute.checkpoint_every
        self._task = task
        self._rank = worker.rank
        self._checkpointer = checkpointer
        self._target = own_artifact(experiment, network)
        dataset = task.dataset()
        self._buffer_bytes = dataset.data.buffer_bytes
        self._loader = BatchLoader(
            dataset,
            seed=self._seed,
            num_batches=batches_per_step(experiment, network),
            images_per_batch=fit.batch_size_per_worker,
            rank=worker.rank,
            world_size=worker.world_size,
            num_workers=compute.num_loader_workers,
            shares=task.shares(),
        )
        joined = worker.join(self._build(worker.device, compute))
        self._net = unwrapped(joined)
        optimizer = build_optimizer(task.parameter_groups(self._net), fit.optimiser)
        steps = num_steps(experiment, network, len(dataset))
        self._step = Step(joined, task.loss, optimizer, fit, steps, task.maxima, task.ema_decay)
        self._done, scores = self._restore()
        self._log = self._validation = None
        if worker.rank == 0:
            boards = open_boards(experiment, self._target, self._done)
            self._log = Log(self._target, self._done, boards)
            if fit.validate_every is not None:
                scorer = make_scorer(experiment, fit) if make_scorer else task.scorer()
                self._validation = Validation(self._target, scorer, fit.validate_every, scores)

    def _build(self, device: torch.device, compute: Workers) -> nn.Module:
        """Build the network on its device, fast or sparing as asked; names stay the same."""
        torch.manual_seed(self._seed)
        net = self._task.network().to(device)
        if device.type == "cuda":
            net = net.to(memory_format=torch.channels_last)
        if compute.activation_checkpointing:
            checkpoint_activations(self._task.parts(net))
        if compute.compile:
            net.compile()
        return net

    def _restore(self) -> tuple[int, list[dict[str, int | float]]]:
        """Go on from the last saved state; return the number of its step, and its scores."""
        try:
            state = self._checkpointer.load()
            if state is None:
                return 0, []
            check_order(state.get("buffer_bytes"), self._buffer_bytes)
            self._step.load_state(state)
            return state["step"], state["scores"]
        except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = shorten(f"{type(error).__name__}: {error}", 500)
            raise ValueError(
                f"the last checkpoint can't be used: {reason}\n"
                "If it is damaged, or another version of torch wrote it, --overwrite trains anew."
            ) from error

    def run(self) -> None:
        """Take all steps that remain; worker 0 writes the model."""
        per_epoch = self._loader.steps_per_epoch
        for epoch in range(self._done // per_epoch, self._fit.epochs):
            if self._log is not None:
                self._log.start(epoch)
            for waited, batches in _timed(self._loader.steps(epoch, self._done % per_epoch)):
                scalars = self._take_step(batches)
                if self._log is not None:
                    self._log.add(self._done, len(batches[0].step_rows), waited, scalars)
                self._done += 1
                every = self._checkpoint_every
                if every and self._done % every == 0 and self._done % per_epoch:
                    self._save({})
            self._save(self._score(epoch))
        if self._log is not None:
            self._log.close()
            self._write_model()

    def _take_step(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        # Dropout and the like: derived too, so that a resumed training is the same.
        words = np.random.SeedSequence([self._seed, self._done, self._rank])
        torch.manual_seed(int(words.generate_state(1)[0]))
        try:
            return self._step(*batches)
        except FloatingPointError as error:
            raise DivergedError(
                f"{self._target.name}, step {self._done}: {error}. The last checkpoint is kept. "
                "Lower the learning rate, set optimiser.max_grad_norm, or choose precision: float32"
            ) from None

    def _score(self, epoch: int) -> Mapping[str, float]:
        if self._validation is None or not self._validation.is_due(epoch, self._fit.epochs):
            return {}
        scores = self._validation(epoch, self._done, self._step.trained())
        self._step.prepare()
        if self._log is not None:
            self._log.scored(self._done, scores)
        return scores

    def _save(self, scores: Mapping[str, float]) -> None:
        means = {} if self._log is None else self._log.write()
        rows = [] if self._validation is None else self._validation.rows
        state = State(**self._step.state(), step=self._done, scores=rows)
        if self._buffer_bytes is not None:
            state["buffer_bytes"] = self._buffer_bytes
        self._checkpointer.save(state, {**means, **scores})

    def _write_model(self) -> None:
        net = self._step.trained()
        if self._fit.keep == "best":
            load_network(net, f"{self._target.uri}/{BEST}")
        with evaluating(net):
            self._task.finish(net)
        write_bytes(f"{self._target.uri}/{MODEL}", weights(net), durable=True)


def _timed(items: Iterator[_T]) -> Iterator[tuple[float, _T]]:
    """Yield each item after the seconds that it took to come."""
    while True:
        start = time.monotonic()
        try:
            item = next(items)
        except StopIteration:
            return
        yield time.monotonic() - start, item
