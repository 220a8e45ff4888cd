"""The state of a training between two lives of its workers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from qaclims_ray.train.step import StepState

_FILE = "state.pt"


class State(StepState):
    """What a checkpoint holds: tensors and plain data only."""

    step: int
    """Steps that were taken."""
    scores: list[dict[str, Any]]
    """Scores after each of the epochs that were scored, see `Validation`."""


@runtime_checkable
class Checkpointer(Protocol):
    """Keeps the state of a training."""

    def load(self) -> State | None:
        """Load the last state that was saved; None: there is none."""
        ...

    def save(self, state: State, metrics: Mapping[str, float]) -> None:
        """Save a state with the means and scores of its epoch.

        Every worker calls it at the same steps; what worker 0 has is kept.
        """
        ...


class NoCheckpoints:
    """Keeps nothing: an interrupted training begins anew."""

    def load(self) -> State | None:
        """Return None."""

    def save(self, state: State, metrics: Mapping[str, float]) -> None:
        """Do nothing."""


def save_state(state: State, folder: str | Path) -> None:
    """Write a state into a folder."""
    torch.save(state, Path(folder, _FILE))


def load_state(folder: str | Path) -> State:
    """Read the state in a folder, its tensors onto the CPU."""
    return torch.load(Path(folder, _FILE), map_location="cpu", weights_only=True)
