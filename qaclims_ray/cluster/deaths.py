"""The death of Ray's own processes, told in one line within seconds.

Without them Ray waits a minute for what does not come back, then ends the process without a word.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import ray

_NAMES = {"gcs_server": "head process", "raylet": "process of this node"}
"""Processes of Ray's without which nothing goes on, and what messages call them."""
_SILENT, _CONNECT = 30.0, 5.0
"""Seconds without an answer until a head elsewhere counts as dead, before Ray's own 60, and those
that one attempt takes at most."""


class _Process(NamedTuple):
    """A child of this process."""

    name: str
    pid: int


def watch_ray() -> Callable[[], str | None]:
    """Return a function that says which process of the Ray that runs has died; None: none has."""
    own = [child for child in _children() if child.name in _NAMES]
    return _Own(own) if own else _Head(ray.get_runtime_context().gcs_address)


def _children() -> Iterator[_Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().partition(b"\0")[0]
            # The name stands in parentheses, and may hold any character itself.
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue  # it has ended
        if int(parent) == os.getpid():
            yield _Process(os.path.basename(command.decode(errors="replace")), int(folder.name))


class _Own:
    """The processes of a Ray on this machine."""

    def __init__(self, processes: Sequence[_Process]) -> None:
        self._processes = processes
        self._told: str | None = None

    def __call__(self) -> str | None:
        """Say what died first: the others are ended then."""
        if self._told is None and ray.is_initialized():
            self._told = _dead(self._processes)
        return self._told


def _dead(processes: Sequence[_Process]) -> str | None:
    for process in processes:
        if (how := _how_it_ended(process.pid)) is not None:
            for other in processes:  # none is of use without the others
                with suppress(ProcessLookupError):
                    os.kill(other.pid, signal.SIGKILL)
            return (
                f"Ray's {_NAMES[process.name]} ({process.name}, {process.pid}) died, {how}. "
                "Work is kept: the same command goes on."
            )
    return None


def _how_it_ended(pid: int) -> str | None:
    """Look at a child without taking its end from Ray, which waits for it; None: it runs."""
    try:
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return "how is not known"
    if end is None:
        return None
    if end.si_code == os.CLD_EXITED:
        return f"status {end.si_status}"
    return f"killed by signal {end.si_status} (9 may be for lack of memory)"


class _Head:
    """The head of a cluster elsewhere, known by its port."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._answered = self._asked = time.monotonic()

    def __call__(self) -> str | None:
        """Say that the head has not answered for long."""
        if ray.is_initialized() and time.monotonic() - self._asked > _CONNECT:
            self._asked = time.monotonic()
            host, _, port = self._address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
                self._answered = time.monotonic()
            except OSError:
                pass
        if time.monotonic() - self._answered < _SILENT or not ray.is_initialized():
            return None
        return (
            f"the head of the Ray cluster ({self._address}) has not answered for {_SILENT:.0f} s. "
            "Work is kept: start the cluster again, and the same command goes on."
        )
