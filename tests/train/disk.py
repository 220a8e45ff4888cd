"""How much of a disk processes hold in files of a folder, with those that have no name."""

import os
from collections.abc import Iterable
from pathlib import Path


def held_bytes(folder: str | Path, pids: Iterable[int] = ()) -> int:
    """Bytes on disk of the files below a folder that are there or open, in some processes too."""
    found: dict[int, int] = {}
    for path in Path(folder).rglob("*"):
        _add(found, str(path))
    for pid in (os.getpid(), *pids):
        for place in (f"/proc/{pid}/fd", f"/proc/{pid}/map_files"):
            for link in _links(place):
                if _target(link).startswith(f"{folder}/"):
                    _add(found, link)
    return sum(found.values())


def _add(found: dict[int, int], path: str) -> None:
    try:
        status = os.stat(path)
    except OSError:  # gone meanwhile
        return
    found[status.st_ino] = 512 * status.st_blocks


def _links(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except OSError:  # the process ended, or its maps are not for us
        return []


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
