"""Batches computed so that a bad row loses no good one: it fails, or dies, alone.

What is known to be wrong with one row is best said as a value, `{key: …, "error": reason}`. A batch
that raises is halved until the rows that fail alone are known; this is also what a batch needs that
is too large for the memory. What is no row's fault is a `StageError`. A batch that ends its process
(a crash in native code, the kernel's or Ray's out-of-memory killer) is known to the next process by
its crash log, which then goes through these rows one by one.

Threads of a process may work on batches at the same time: a crash is then of all their rows. A row
that was in work at a crash waits until nothing else is, so that the next crash is its own.
"""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import pyarrow as pa

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import PendingBlocks, block_schema
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.tables import Rows
from qaclims_ray.storage.files import remove, write_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.records import read_record

MAX_CRASHES = 3
"""Processes that a row may end before it is recorded as failed."""

_In = TypeVar("_In", bound=Mapping[str, Any])


class StageError(ValueError):
    """What is no row's fault, such as a service out of reach; it stops the stage at once."""


class IsolatedMap:
    """Turns batches of rows into unfinished blocks of an artifact, failed rows with a reason."""

    def __init__(self, target: Artifact, max_errors: int) -> None:
        """More than `max_errors` failed rows in a process stop it."""
        self._name = target.name
        self._key = schema_of(target.name).names[0]
        self._max_errors = max_errors
        self._num_errors = 0
        self._counting = threading.Lock()
        self._crash_log = CrashLog(target)

    def __call__(self, rows: Sequence[_In], compute: Callable[[Sequence[_In]], Rows]) -> pa.Table:
        """An unfinished block: what `compute` makes of the rows, or why it could not.

        Args:
            rows: Those with an `error` that is not null have failed already.
            compute: Rows to as many rows of the artifact, in any order. It may return
                `{key: …, "error": reason}` for a row that it knows to be bad: nothing else of the
                batch is computed again, as it is where it raises.

        Raises:
            StageError: too many rows failed, or `compute` raised it.
        """
        whole = [row for row in rows if row.get("error") is None]
        broken = [self._counted(row) for row in rows if row.get("error") is not None]
        # Rows that were in work at a crash go alone: the next crash says which it is.
        together = [row for row in whole if not self._crash_log.crashes(row[self._key])]
        alone = [[row] for row in whole if self._crash_log.crashes(row[self._key])]
        groups = [together, *alone] if together else alone
        tried = [row for group in groups for row in self._try(group, compute)]
        made = {row[self._key]: row for row in [*broken, *tried]}
        ordered = [made[row[self._key]] for row in rows]
        return pa.Table.from_pylist(ordered, schema=block_schema(self._name))

    def _try(
        self, rows: Sequence[_In], compute: Callable[[Sequence[_In]], Rows]
    ) -> list[Mapping[str, Any]]:
        crashes = self._crash_log.crashes(rows[0][self._key])
        if crashes >= MAX_CRASHES:
            reason = f"it ended its process {MAX_CRASHES} times (out of memory, or a crash)"
            return [self._counted({self._key: rows[0][self._key], "error": reason})]
        with self._crash_log.at_work([row[self._key] for row in rows], alone=crashes > 0):
            return self._compute(rows, compute)

    def _compute(
        self, rows: Sequence[_In], compute: Callable[[Sequence[_In]], Rows]
    ) -> list[Mapping[str, Any]]:
        try:
            made = list(compute(rows))
        except StageError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return [self._counted(row) for row in made]
        # Outside the handler: the exception kept the failed batch, and its GPU memory, alive.
        if len(rows) == 1:
            return [self._counted({self._key: rows[0][self._key], "error": reason})]
        half = len(rows) // 2
        return self._compute(rows[:half], compute) + self._compute(rows[half:], compute)

    def _counted(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row; one that failed has nothing but its key and the reason, and counts."""
        if row.get("error") is None:
            return row
        with self._counting:
            self._num_errors += 1
        if self._num_errors > self._max_errors:
            raise StageError(
                f"more than data.max_errors = {self._max_errors} rows of {self._name} failed; "
                f"the last: {row[self._key]}: {row['error']}\n"
                "Mend the input, or raise data.max_errors."
            )
        return {self._key: row[self._key], "error": row["error"]}


class CrashLog:
    """What the processes of a map are at, each on a page of its own.

    A page is read by processes that start later. Those of living processes do no harm there:
    their rows are not given to others.
    """

    def __init__(self, target: Artifact) -> None:
        folder = PendingBlocks(target).crash_log
        pages = [read_record(page, list[str]) or [] for page in find(f"{folder}/*.json")]
        self._crashes = Counter(key for page in pages for key in page)
        self._page = f"{folder}/{uuid4().hex}.json"
        self._turns = threading.Condition()
        self._in_work: list[Sequence[str]] = []
        self._is_alone = False

    def crashes(self, key: str) -> int:
        """Processes that ended while a row was in work."""
        return self._crashes[key]

    @contextmanager
    def at_work(self, keys: Sequence[str], *, alone: bool = False) -> Generator[None]:
        """Say before some rows are worked on that this process is at them.

        Args:
            keys: Of the rows.
            alone: Wait until no other thread is at any, and let none begin.
        """
        with self._turns:
            self._turns.wait_for(lambda: not (self._is_alone or (alone and self._in_work)))
            self._in_work.append(keys)
            self._is_alone = alone
        try:
            with self._turns:
                write_json(self._page, [key for batch in self._in_work for key in batch])
            yield
        finally:
            with self._turns:
                self._in_work.remove(keys)
                self._is_alone = False  # who was alone goes, or nobody was
                self._turns.notify_all()


def forget_crashes(target: Artifact) -> None:
    """Start a map with an empty crash log: a driver that was stopped is no row's fault."""
    remove(PendingBlocks(target).crash_log)
