"""Row groups on local disk, read ahead of their use, never more of them than the buffer may hold.

A window's file has no name: its space is free when the window is done, and when its process ends,
however it ends. Workers and trainings on one node share nothing.
"""

import mmap
import os
import resource
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from operator import itemgetter
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from qaclims_ray.train.deal import Window
from qaclims_ray.train.rows import Row, row_of

_THREADS = 8
"""Row groups of a worker that are read at a time, and in memory meanwhile."""
_FILES_PER_LANE, _OTHER_FILES = 4, 1024
"""Open files of two windows, each with its map; and of all else in a process."""

Read = Callable[[int], pa.Table]
"""Number of a row group to its rows."""


class HeldWindow:
    """A window whose row groups are in its file, or on their way there."""

    def __init__(self, window: Window, sizes: Int[np.ndarray, "groups"], folder: str) -> None:
        """Make the file, which takes no space yet.

        Args:
            window: A window.
            sizes: Bytes of each row group of the set, at most.
            folder: Where the file lies.
        """
        self.window = window
        self._folder = folder
        self._taken = 0
        self._begins: list[int] = np.cumsum([0, *sizes[window.groups]]).tolist()
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - it goes with the window
        self._file.truncate(self._begins[-1])
        self._map = mmap.mmap(self._file.fileno(), self._begins[-1], access=mmap.ACCESS_READ)
        self._tables: dict[int, Future[pa.Table]] = {}

    def fetch(self, owner: int, read: Read, pool: ThreadPoolExecutor) -> None:
        """Have a row group of the window read and kept, by its place in the window."""
        self._tables[owner] = pool.submit(self._keep, owner, read)

    def take(self) -> tuple[int, Row]:
        """Return number and values of the next row; waits until it is there."""
        owner, offset = self.window.owners[self._taken], self.window.offsets[self._taken]
        number = int(self.window.rows[self._taken])
        self._taken += 1
        return number, row_of(self._tables[int(owner)].result(), int(offset))

    def is_done(self) -> bool:
        """Tell whether all rows are taken."""
        return self._taken == len(self.window.rows)

    def _keep(self, owner: int, read: Read) -> pa.Table:
        begin, end = self._begins[owner], self._begins[owner + 1]
        content = as_bytes(read(int(self.window.groups[owner])))
        assert content.size <= end - begin
        written = 0
        try:
            while written < content.size:
                left = memoryview(content)[written:]
                written += os.pwrite(self._file.fileno(), left, begin + written)
        except OSError as error:
            raise ValueError(
                f"{self._folder}: {error.strerror} while training images were kept there: make "
                "room, start Ray with another TMPDIR, or lower compute.train.cache_gigabytes"
            ) from error
        kept = pa.py_buffer(self._map).slice(begin, content.size)
        return pa.ipc.open_stream(kept).read_all()


class ReadAhead:
    """Takes rows of some lanes, one of each in a step; two windows of each are on disk at most."""

    def __init__(
        self,
        read: Read,
        sizes: Int[np.ndarray, "groups"],
        lanes: Sequence[Iterator[Window]],
        folder: str,
    ) -> None:
        """Read nothing yet.

        Args:
            read: Reads a row group; called in threads.
            sizes: Bytes of each row group on disk, at most.
            lanes: Windows of each lane.
            folder: Where windows are kept.
        """
        self._read, self._sizes, self._lanes, self._folder = read, sizes, lanes, folder
        allow_open_files(_FILES_PER_LANE * len(lanes))

    def steps(self) -> Iterator[list[tuple[int, Row]]]:
        """Yield number and values of the rows of each step, one of each lane.

        Raises:
            ValueError: a row group cannot be read, or not be kept.
        """
        pool = ThreadPoolExecutor(_THREADS)
        try:
            held = self._begin(pool)
            while held[0]:
                yield [
                    self._take(windows, lane, pool)
                    for windows, lane in zip(held, self._lanes, strict=True)
                ]
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor) -> list[deque[HeldWindow]]:
        """Have the first windows of all lanes read in the order in which steps need them."""
        held = [deque(map(self._hold, islice(lane, 2))) for lane in self._lanes]
        needs = [
            (step, owner, one)
            for one in chain.from_iterable(held)
            for owner, step in enumerate(one.window.first_steps.tolist())
        ]
        for _, owner, one in sorted(needs, key=itemgetter(0)):
            one.fetch(owner, self._read, pool)
        return held

    def _hold(self, window: Window) -> HeldWindow:
        return HeldWindow(window, self._sizes, self._folder)

    def _take(
        self, windows: deque[HeldWindow], lane: Iterator[Window], pool: ThreadPoolExecutor
    ) -> tuple[int, Row]:
        """Take the next row of a lane; where it ends a window, that makes room for another one."""
        row = windows[0].take()
        if windows[0].is_done():
            windows.popleft()
            for window in islice(lane, 1):
                windows.append(self._hold(window))
                for owner in range(len(window.groups)):
                    windows[-1].fetch(owner, self._read, pool)
        return row


def allow_open_files(number: int) -> None:
    """Raise this process's limit of open files by a number, as far as the system lets it."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OTHER_FILES + number
    if least != resource.RLIM_INFINITY and least < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, allowed), most))


def as_bytes(table: pa.Table) -> pa.Buffer:
    """Return a table as an Arrow stream, to be mapped.

    Values of bytes that are there twice are kept once, as in Parquet, whose sizes are the bound.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            column = table.column(place).combine_chunks().dictionary_encode()
            table = table.set_column(place, field.name, column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()
