"""One job at a time works at an artifact: a file says which, and that it is alive.

No lock: object stores create nothing atomically, so two jobs that start in the same moment may both
go on. What this keeps apart is a job and the one that somebody starts minutes or days later.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TypedDict

from qaclims_ray.storage import read_json, remove, write_json

OWNER = "_owner.json"
BEAT, STALE = 15.0, 90.0
"""Seconds between two signs of life, and without any until an owner is taken for dead."""

log = logging.getLogger(__name__)


class Owner(TypedDict):
    """What the file says."""

    host: str
    pid: int
    alive: float
    """Seconds since 1970 of the last sign of life."""


@contextmanager
def owning(folder: str) -> Generator[None]:
    """Be the one job that works at a folder while the body runs.

    Raises:
        ValueError: another one is at it.
    """
    uri = f"{folder}/{OWNER}"
    _check_free(folder, read_json(uri))
    done = threading.Event()
    _sign(uri)
    thread = threading.Thread(target=_beat, args=(uri, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        remove(uri)


def _check_free(folder: str, owner: Owner | None) -> None:
    if owner is None or not _lives(owner):
        return
    seconds = max(0.0, time.time() - owner["alive"])
    raise ValueError(
        f"another job works at {folder}: process {owner['pid']} on {owner['host']}, last sign of "
        f"life {seconds:.0f} s ago. Wait for it, or stop it, or choose another run=…; if it was "
        f"killed, run the same command {STALE:.0f} s after that sign"
    )


def _lives(owner: Owner) -> bool:
    if time.time() - owner["alive"] > STALE:
        return False
    return owner["host"] != socket.gethostname() or _is_other_process(owner["pid"])


def _is_other_process(pid: int) -> bool:
    """False for this process's own number too: in a container that restarts it is the same."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _sign(uri: str) -> None:
    write_json(uri, Owner(host=socket.gethostname(), pid=os.getpid(), alive=time.time()))


def _beat(uri: str, done: threading.Event) -> None:
    while not done.wait(BEAT):
        try:
            _sign(uri)
        except (OSError, ValueError) as error:  # of the storage, which the work will notice itself
            log.info("%s: %s", uri, error)
