"""The log of a training: scalars of every step as JSON lines and for TensorBoard, and progress."""

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from typing_extensions import TypedDict

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import PROGRESS, TrainingProgress
from qaclims_ray.run.collapse import dead_maps
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.records import read_lines, read_record

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_PROGRESS = 1.0
MAX_LOGIT = "max_logit"
"""Scalar of the trainings of CAM networks: the largest logit of all maps of a step."""
DEAD_STEPS = 20
"""Steps in a row of which no map has a logit above 0, from which on the maps count as dead."""


@runtime_checkable
class Board(Protocol):
    """Where else scalars go."""

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note the scalars of a step."""
        ...

    def write(self) -> None:
        """Bring what there is so far to where people look."""
        ...

    def close(self) -> None:
        """End the training there."""
        ...


class LogRow(TypedDict):
    """Scalars of a step; further ones are those of its training."""

    step: int
    images_per_second: float
    """Rate of all workers together."""


class Log:
    """The log of worker 0: one line for each step, one file for each epoch.

    Losses are those of worker 0's batches. The file is written at each checkpoint, so that a
    training that goes on from one finds the lines before it, and drops those after it.
    """

    def __init__(self, target: Artifact, done: int, boards: Sequence[Board] = ()) -> None:
        """Log into the artifact `target` and to boards, after `done` steps."""
        self._target = target
        self._boards = boards
        self._rows: list[dict[str, Any]] = []
        self._done = done
        self._last = time.monotonic()
        self._shown = 0.0
        self._num_dead = 0

    def start(self, epoch: int) -> None:
        """Begin an epoch, or go on with one."""
        self._epoch = epoch
        self._rows = [row for row in read_log(self._uri()) if row["step"] < self._done]

    def add(self, step: int, num_images: int, waited: float, scalars: Mapping[str, float]) -> None:
        """Note one step.

        Args:
            step: Number of the step, from the start of the training.
            num_images: Images of the step, those of all workers.
            waited: Seconds for which worker 0 waited for its batches.
            scalars: Loss terms, learning rate and the like.
        """
        now = time.monotonic()
        seconds, self._last = max(now - self._last, 1e-9), now
        row = {
            **scalars,
            "images_per_second": num_images / seconds,
            "data_wait": min(waited / seconds, 1.0),
        }
        self._num_dead = self._num_dead + 1 if scalars.get(MAX_LOGIT, 1.0) <= 0 else 0
        self._rows.append({"epoch": self._epoch, "step": step, **row})
        for board in self._boards:
            board.add(step, row)
        if now - self._shown > _SECONDS_BETWEEN_PROGRESS:
            self._shown = now
            progress = {"step": step + 1, "dead": self._num_dead}
            write_json(f"{self._target.work}/{PROGRESS}", progress)

    def scored(self, step: int, scores: Mapping[str, float]) -> None:
        """Note the scores after a step."""
        for board in self._boards:
            board.add(step, scores)

    def write(self) -> dict[str, float]:
        """Write the file of the epoch; return the means over its steps so far."""
        lines = "".join(f"{json.dumps(row)}\n" for row in self._rows)
        write_bytes(self._uri(), lines.encode())
        for board in self._boards:
            board.write()
        self._last = time.monotonic()
        return {key: sum(row[key] for row in self._rows) / len(self._rows) for key in self._rows[0]}

    def close(self) -> None:
        """End the log, after the last epoch."""
        for board in self._boards:
            board.close()

    def _uri(self) -> str:
        return f"{self._target.uri}/metrics/epoch-{self._epoch:03d}.jsonl"


class Progress:
    """Looks how far a training is, and warns once if its maps die on the way."""

    def __init__(self, target: Artifact) -> None:
        """Look at the training of an artifact under way."""
        self._target = target
        self._warned = False

    def __call__(self) -> int:
        """Return the number of steps done."""
        said = attempt(read_record, f"{self._target.work}/{PROGRESS}", TrainingProgress)
        if said is None or isinstance(said, ValueError):  # it tells how far, and nothing more
            return 0
        if said.get("dead", 0) >= DEAD_STEPS:
            self.warn()
        return said["step"]

    def warn(self) -> None:
        """Say that the maps are dead, and what to change."""
        if not self._warned:
            log.warning(dead_maps(self._target.name))
        self._warned = True


def ends_dead(target: Artifact) -> bool:
    """Tell whether no step of a training's last epoch had a logit above 0: its CAMs are empty."""
    epochs = find(f"{target.uri}/metrics/epoch-*.jsonl")
    rows = read_log(epochs[-1]) if epochs else []
    return bool(rows) and all(row.get(MAX_LOGIT, 1.0) <= 0 for row in rows)


def read_log(uri: str) -> list[dict[str, Any]]:
    """Read the steps of an epoch, none where there is no file; a damaged one is a ValueError."""
    return cast(list[dict[str, Any]], read_lines(uri, LogRow))


class TensorBoard:
    """TensorBoard's event file, copied into `tensorboard/` of the artifact at each checkpoint."""

    def __init__(self, target: Artifact, done: int) -> None:
        """Write events after `done` steps; later ones of an earlier file are void."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._target = target
        self._folder = tempfile.TemporaryDirectory(prefix="tensorboard")
        self._writer: Any = SummaryWriter(self._folder.name, purge_step=done or None)

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note the scalars of a step."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def write(self) -> None:
        """Copy what there is so far."""
        self._writer.flush()
        for file in Path(self._folder.name).iterdir():
            write_bytes(f"{self._target.uri}/tensorboard/{file.name}", file.read_bytes())

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
