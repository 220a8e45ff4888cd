"""The state of a training between two lives of its workers."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import NotRequired, Protocol, cast, runtime_checkable

import torch

from qaclims_ray.train.step import StepState

_FILE = "state.pt"


class State(StepState):
    """What a checkpoint holds: tensors and plain data only."""

    step: int
    """Steps that were taken."""
    scores: list[dict[str, int | float]]
    """Scores after each of the epochs that were scored, see `Validation`."""
    buffer_bytes: NotRequired[int]
    """Size of the buffer that decides the order of images, where there is one."""


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
    """Read the state in a folder, its tensors onto the CPU; errors as in `parse_state`."""
    path = Path(folder, _FILE)
    return parse_state(path, str(path))


def parse_state(source: Path | BytesIO, uri: str) -> State:
    """Read a state from a file, or its bytes.

    Raises:
        ValueError: it is damaged, or no state at all.
    """
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle machine fails in any way on bytes that are none
        raise _unusable(uri, error) from error
    if not isinstance(state, dict) or not {"step", "scores"} <= state.keys():
        raise _unusable(uri, "it holds something else")
    return cast(State, state)


def _unusable(uri: str, why: object) -> ValueError:
    reason = shorten(
        f"{type(why).__name__}: {why}" if isinstance(why, Exception) else str(why), 300
    )
    return ValueError(f"the checkpoint {uri} cannot be read: {reason}")
