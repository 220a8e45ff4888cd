"""Files inside tars, many at a time: neighbours come with one request."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import read_ranges
from qaclims_ray.storage.paths import split_member

_GAP = 2**16
"""Bytes between two files that are rather read along than left out by a request of its own."""
_LONGEST = 2**23
"""Bytes of a request."""
_MOST = 2**28
"""Bytes that are read ahead, at most."""


class _Place(NamedTuple):
    offset: int
    size: int
    path: str


def read_members(paths: Iterable[str]) -> dict[str, bytes]:
    """Read those paths that are files inside tars (see `paths.member`), by path.

    What cannot be read, or goes beyond 256 MB in sum, is left out: `read_bytes` reads it, or says
    what is wrong with it.
    """
    contents: dict[str, bytes] = {}
    for tar, places in _by_tar(paths).items():
        runs = list(_runs(sorted(places)))
        wanted = [(run[0].offset, _end(run) - run[0].offset) for run in runs]
        parts = attempt(read_ranges, tar, wanted)
        for run, part in zip(runs, () if isinstance(parts, ValueError) else parts, strict=False):
            begin = run[0].offset
            contents |= {
                one.path: part[one.offset - begin : one.offset - begin + one.size] for one in run
            }
    return contents


def _by_tar(paths: Iterable[str]) -> dict[str, list[_Place]]:
    found: dict[str, list[_Place]] = defaultdict(list)
    total = 0
    for path in paths:
        within = split_member(path)
        if within and total + within[2] <= _MOST and not os.path.exists(path):
            tar, offset, size = within
            found[tar].append(_Place(offset, size, path))
            total += size
    return found


def _runs(places: list[_Place]) -> Iterator[list[_Place]]:
    """Cut files of a tar, in its order, into runs that lie close to each other."""
    run = places[:1]
    for place in places[1:]:
        near = place.offset - _end(run) <= _GAP
        if near and place.offset + place.size - run[0].offset <= _LONGEST:
            run.append(place)
        else:
            yield run
            run = [place]
    yield run


def _end(run: list[_Place]) -> int:
    return max(place.offset + place.size for place in run)
