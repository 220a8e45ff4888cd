"""The epochs of one worker: plain torch, whoever the other workers are.

Run alone it trains on this process's device; Ray Train (stage.py) gives it a `Place` among others.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import save
from torch import nn

from qaclims_ray.artifacts import Artifact, own_artifact
from qaclims_ray.config import Experiment
from qaclims_ray.model.cam_net import CamNet
from qaclims_ray.sections import Fit
from qaclims_ray.storage import write_bytes, write_json
from qaclims_ray.train.batches import (
    Batch,
    TrainingImages,
    batches,
    epoch_rows,
    label_matrix,
    steps_per_epoch,
)
from qaclims_ray.train.fit import Fitter, Task, unwrapped
from qaclims_ray.train.networks import MODEL, classifier_start, ritc_start

State = dict[str, Any]
PROGRESS = "progress.json"
_SECONDS_BETWEEN_PROGRESS = 1.0


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
    """Keeps the state after an epoch; every worker calls it."""


def section(experiment: Experiment, network: str) -> Fit:
    """The part of the configuration that says how to fit a network."""
    train = experiment.train
    return train.classifier if network == "classifier" else train.ritc


def num_steps(experiment: Experiment, network: str, num_images: int, num_workers: int) -> int:
    """Steps of a whole training."""
    fit = section(experiment, network)
    return fit.epochs * steps_per_epoch(num_images, num_workers, fit.images_per_worker)


def train(
    experiment: Experiment,
    network: str,
    table: pa.Table,
    class_names: tuple[str, ...],
    place: Place,
) -> None:
    """Train a network from the last saved state to the last epoch; worker 0 writes the model.

    Args:
        experiment: The run.
        network: `classifier` or `cam_net`.
        table: Name, encoded image and labels of all training images.
        class_names: Names in the order of their indices.
        place: Of this worker.
    """
    target = own_artifact(experiment, network)
    fit = section(experiment, network)
    torch.manual_seed(experiment.train.seed)
    net, task = _start(experiment, network, table, class_names, place.device)
    steps = num_steps(experiment, network, table.num_rows, place.num_workers)
    fitter = Fitter(place.wrap(net.to(place.device)), task, fit, steps)
    state = place.load()
    if state is not None:
        fitter.load_state(state["fitter"])
    loader = Loader(experiment, fit, table, len(class_names), place)
    log = Log(target, place)
    for epoch in range(0 if state is None else state["epoch"] + 1, fit.epochs):
        # Dropout and the like derive from the epoch too, so that a resumed one is the same.
        torch.manual_seed(experiment.train.seed * 100_003 + epoch)
        for step, batch in enumerate(loader.batches(epoch), start=epoch * steps // fit.epochs):
            log.add(epoch, step, len(batch.names), fitter.step(batch))
        place.save({"fitter": fitter.state(), "epoch": epoch}, log.finish(epoch))
    if place.worker == 0:
        model = {name: value.contiguous() for name, value in unwrapped(net).state_dict().items()}
        write_bytes(f"{target.uri}/{MODEL}", save(model))


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


class Loader:
    """The batches of one worker, epoch by epoch."""

    def __init__(
        self, experiment: Experiment, fit: Fit, table: pa.Table, num_classes: int, place: Place
    ) -> None:
        seed = experiment.train.seed
        self._images = TrainingImages(table, fit.augment, seed, experiment.data.max_pixels)
        self._labels = label_matrix(table, num_classes)
        self._num_processes = experiment.compute.train.loader_processes
        self._rows = partial(
            epoch_rows,
            table.num_rows,
            seed=seed,
            worker=place.worker,
            num_workers=place.num_workers,
            images_per_worker=fit.images_per_worker,
        )

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The share of this worker in an epoch, in its random order."""
        self._images.epoch = epoch
        return batches(self._images, self._labels, self._rows(epoch=epoch), self._num_processes)


class Log:
    """What a training reports: a JSON line for each step, one file for each epoch, and progress.

    A repeated epoch replaces its file. Only worker 0 writes.
    """

    def __init__(self, target: Artifact, place: Place) -> None:
        self._target = target
        self._place = place
        self._rows: list[dict[str, float]] = []
        self._last = time.monotonic()
        self._shown = 0.0

    def add(self, epoch: int, step: int, num_images: int, scalars: Mapping[str, float]) -> None:
        """Note one step; images per second are those of all workers."""
        now = time.monotonic()
        speed = num_images * self._place.num_workers / max(now - self._last, 1e-9)
        self._last = now
        self._rows.append({"epoch": epoch, "step": step, **scalars, "images_per_second": speed})
        if self._place.worker == 0 and now - self._shown > _SECONDS_BETWEEN_PROGRESS:
            self._shown = now
            write_json(f"{self._target.work}/{PROGRESS}", {"step": step + 1})

    def finish(self, epoch: int) -> dict[str, float]:
        """Write the epoch's file; the epoch's means."""
        rows, self._rows = self._rows, []
        if self._place.worker == 0:
            lines = "".join(f"{json.dumps(row)}\n" for row in rows)
            write_bytes(f"{self._target.uri}/metrics/epoch-{epoch:03d}.jsonl", lines.encode())
        return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
