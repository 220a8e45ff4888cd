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
from typing import NotRequired
from uuid import uuid4

from typing_extensions import TypedDict

from qaclims_ray.run.progress import background
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import modified, remove, write_bytes, write_json
from qaclims_ray.storage.records import read_record

OWNER = "_owner.json"
BEAT, STALE = 15.0, 90.0
"""Seconds between two signs of life, and without any until an owner is taken for dead. How long ago
the last one was, the storage's own clock tells; those of different machines differ."""
_LOOK = 1.0
"""Seconds between two looks at another owner's signs."""

log = logging.getLogger(__name__)
_job: ContextVar[str | None] = ContextVar("job", default=None)


class Owner(TypedDict):
    """What the file says."""

    host: str
    pid: int
    alive: float
    """Seconds since 1970 of the last sign of life, by the owner's clock."""
    job: NotRequired[str | None]
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
    owner = _read(uri)
    if owner is not None and _lives(uri, owner):
        raise ValueError(
            f"another job works at {folder}: process {owner['pid']} on {owner['host']} is alive. "
            "Wait for it, or stop it, or choose another run=…"
        )
    job = _job.get()
    _sign(uri, job)
    try:
        with background(lambda done: _beat(uri, job, done)):
            yield
    finally:
        remove(uri)


def _read(uri: str) -> Owner | None:
    """What the file says; None where there is none, or a damaged one that nobody can own."""
    owner = attempt(read_record, uri, Owner)
    return None if isinstance(owner, ValueError) else owner


def _lives(uri: str, owner: Owner) -> bool:
    if _job.get() is not None and owner.get("job") == _job.get():
        return False
    if owner["host"] == socket.gethostname():
        return _is_other_process(owner["pid"])
    wait = STALE - _silent_for(uri)
    if wait <= 0:
        return False
    log.warning(
        "%s: process %s on %s worked here; waiting up to %.0f s for a sign of life of it",
        *(uri, owner["pid"], owner["host"], wait),
    )
    end = time.monotonic() + wait
    while time.monotonic() < end:
        time.sleep(_LOOK)
        now = _read(uri)
        if now != owner:
            return now is not None
    return False


def _silent_for(uri: str) -> float:
    """Return the seconds since a file was written; both times are by the clock of its storage."""
    probe = f"{uri}.{uuid4().hex}"
    write_bytes(probe, b"")
    try:
        return (modified(probe) - modified(uri)).total_seconds()
    except FileNotFoundError:  # its owner has just given it up
        return STALE
    finally:
        remove(probe)


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
