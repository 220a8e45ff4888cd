"""The death of Ray's own processes, told in one line within seconds.

Without them Ray waits a minute for what does not come back, then ends the process without a word.
"""

import socket
import time
from collections.abc import Callable, Sequence
from subprocess import Popen
from typing import Any

import ray
from ray._private import worker  # pyright: ignore[reportPrivateUsage]

_NAMES = {"gcs_server": "head process", "raylet": "process of this node"}
"""Of Ray's processes those without which nothing goes on."""
_SILENT, _CONNECT = 30.0, 5.0
"""Seconds without an answer until a head elsewhere counts as dead, before Ray's own 60, and those
that one attempt takes at most."""


def watch_ray() -> Callable[[], str | None]:
    """Return a function that says which process of the Ray that runs has died; None: none has."""
    node: Any = worker._global_node  # pyright: ignore[reportPrivateUsage]
    own = [(name, info.process) for name, all_of in node.all_processes.items() for info in all_of]
    return _Own(own) if own else _Head(node.gcs_address)


class _Own:
    """The processes of a Ray on this machine."""

    def __init__(self, processes: Sequence[tuple[str, Popen[bytes]]]) -> None:
        self._processes = processes
        self._told: str | None = None

    def __call__(self) -> str | None:
        """Say what died first: the others are ended then."""
        if self._told is None and ray.is_initialized():
            self._told = _dead(self._processes)
        return self._told


def _dead(processes: Sequence[tuple[str, Popen[bytes]]]) -> str | None:
    for name, process in processes:
        if name in _NAMES and process.poll() is not None:
            for _, other in processes:  # none is of use without the others
                other.kill()
            return (
                f"Ray's {_NAMES[name]} ({name}, {process.pid}) died, {_how(process.returncode)}. "
                "Work is kept: the same command goes on."
            )
    return None


def _how(code: int) -> str:
    return (
        f"killed by signal {-code} (9 may be for lack of memory)" if code < 0 else f"status {code}"
    )


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
