"""A lease: one job at a time works at an artifact; a file says which, and that it is alive.

No lock: object stores create nothing atomically, so two jobs that start in the same moment may both
go on. What this keeps apart is a job and the one that somebody starts minutes or days later.

A job of many processes owns a folder, and what they own they own for that job (`on_behalf_of`). Ray
starts a lost one again at once, maybe elsewhere: it follows its predecessor without a wait. One
that is cut off rather than dead may go on until its node gives up too, a minute or so; both compute
the same from the same seed, and files are replaced as a whole.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypedDict

from qaclims_ray.run.progress import background
from qaclims_ray.storage.files import read_json, remove, write_json

OWNER = "_owner.json"
BEAT, STALE = 15.0, 90.0
"""Seconds between two signs of life, and without any until an owner is taken for dead."""

log = logging.getLogger(__name__)
_job: ContextVar[str | None] = ContextVar("job", default=None)


class Owner(TypedDict):
    """What the file says."""

    host: str
    pid: int
    alive: float
    """Seconds since 1970 of the last sign of life."""
    job: str | None
    """Folder of the job that the process acts for, if it is one of many."""


@contextmanager
def on_behalf_of(job: str) -> Generator[None]:
    """What the body owns, it owns for the job that owns a folder, and only one job ever does.

    Args:
        job: The folder.
    """
    before = _job.set(job)
    try:
        yield
    finally:
        _job.reset(before)


@contextmanager
def lease(folder: str) -> Generator[None]:
    """Be the one job that works at a folder while the body runs.

    Raises:
        ValueError: another one is at it.
    """
    uri = f"{folder}/{OWNER}"
    _check_free(folder, read_json(uri))
    job = _job.get()
    _sign(uri, job)
    try:
        with background(lambda done: _beat(uri, job, done)):
            yield
    finally:
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
    replaced = _job.get() is not None and owner.get("job") == _job.get()
    if replaced or time.time() - owner["alive"] > STALE:
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


def _sign(uri: str, job: str | None) -> None:
    host, pid = socket.gethostname(), os.getpid()
    write_json(uri, Owner(host=host, pid=pid, alive=time.time(), job=job))


def _beat(uri: str, job: str | None, done: threading.Event) -> None:
    while not done.wait(BEAT):
        try:
            _sign(uri, job)
        except (OSError, ValueError) as error:  # of the storage, which the work will notice itself
            log.info("%s: %s", uri, error)
