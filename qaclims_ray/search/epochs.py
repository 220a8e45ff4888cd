"""How far the trials of a search are: the epochs that they have scored, and telling them."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from qaclims_ray.run.progress import background
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.records import read_lines

Report = Callable[[Mapping[str, Any]], None]
_LOOK_EVERY = 1.0
"""Seconds between two looks at how far the workers of a trial are."""


def scored_in(cam_net: str) -> list[dict[str, Any]]:
    """Read the scores of a trial after each epoch so far, beside `epoch` (from 0) and `step`.

    Args:
        cam_net: Folder of the trial's network, which may still be training.
    """
    return read_lines(f"{cam_net}/metrics/validation.jsonl", dict[str, Any])


def epochs_done(folder: str) -> int:
    """Count the epochs that all trials have scored whose runs lie in a folder."""
    networks = find(f"{folder}/*/cam_net")
    return sum(len(scored_in(network)) for network in networks)


class Epochs:
    """Reports the epochs that a trial has scored, each of them once."""

    def __init__(self, cam_net: str, metric: str, report: Report) -> None:
        """Report none so far.

        Args:
            cam_net: Folder of the trial's network.
            metric: Name of the score that is reported.
            report: Takes `epoch`, from 1, and the score by its name.
        """
        self._cam_net = cam_net
        self._metric = metric
        self._report = report
        self._reported = 0

    def report(self, until: int) -> None:
        """Report those of the first `until` epochs that have been scored since the last call."""
        for scores in scored_in(self._cam_net)[self._reported : until]:
            self._reported += 1
            self._report({"epoch": self._reported, self._metric: scores[self._metric]})


@contextmanager
def now_and_then(report: Callable[[], None]) -> Generator[None]:
    """Report the epochs that the workers of Ray Train score while the body runs."""

    def follow(done: threading.Event) -> None:
        """Report until the body has ended."""
        while not done.wait(_LOOK_EVERY):
            report()

    with background(follow):
        yield
