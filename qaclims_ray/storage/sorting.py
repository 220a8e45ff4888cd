"""Sort rows that are more than memory should hold, on this machine's disk."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import pyarrow as pa

_RUN_BYTES = 2**22
"""Bytes of Arrow tables that are sorted in memory."""
_BATCH_BYTES = 2**15
"""Bytes of a run that are in memory while runs are merged."""
_MOST_RUNS = 256
"""Runs that are merged at a time, each an open file."""
_ROWS = 1024
"""Rows that are Python objects at a time."""

_Row = dict[str, Any]


class RowSorter:
    """Takes rows in any order, and gives them by some of their columns; equal ones as they came.

    Rows beyond some megabytes lie in sorted runs in the folder for temporary files (`TMPDIR`) until
    the sorter is gone. Threads may add rows; then those of one thread alone keep their order.
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str], run_bytes: int = _RUN_BYTES) -> None:
        """Sort by columns of numbers, texts or bytes, none of them null."""
        self._schema, self._keys, self._run_bytes = schema, list(keys), run_bytes
        self._folder = TemporaryDirectory()
        self._lock = Lock()
        self._pending: list[pa.Table] = []
        self._num_bytes = 0
        self._runs: list[Path] = []
        self._num_runs = 0
        self.num_rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows."""
        remaining = iter(rows)
        while some := list(islice(remaining, _ROWS)):
            table = pa.Table.from_pylist(some, self._schema)
            with self._lock:
                self._pending.append(table)
                self._num_bytes += table.nbytes
                self.num_rows += len(table)
                if self._num_bytes >= self._run_bytes:
                    self._end_run()

    def __iter__(self) -> Iterator[_Row]:
        """Give all rows in their order, as often as one likes, when all have been added."""
        if not self._runs:
            yield from _rows_of(self._sorted().to_batches(_ROWS))
            return
        if self._pending:
            self._end_run()
        while len(self._runs) > _MOST_RUNS:
            starts = range(0, len(self._runs), _MOST_RUNS)
            self._runs = [self._join(self._runs[at : at + _MOST_RUNS]) for at in starts]
        yield from self._merged(self._runs)

    def _join(self, runs: Sequence[Path]) -> Path:
        joined = self._write(self._tables(runs))
        for run in runs:
            run.unlink()
        return joined

    def _end_run(self) -> None:
        self._runs.append(self._write([self._sorted()]))
        self._pending, self._num_bytes = [], 0

    def _sorted(self) -> pa.Table:
        table = pa.concat_tables([self._schema.empty_table(), *self._pending])
        return table.sort_by([(key, "ascending") for key in self._keys])

    def _write(self, tables: Iterable[pa.Table]) -> Path:
        path = Path(self._folder.name) / f"{self._num_runs}.arrow"
        self._num_runs += 1
        with path.open("wb") as file, pa.ipc.new_stream(file, self._schema) as writer:
            for table in tables:
                num_rows = max(1, len(table) * _BATCH_BYTES // max(1, table.nbytes))
                for batch in table.combine_chunks().to_batches(num_rows):
                    writer.write_batch(batch)
        return path

    def _tables(self, runs: Sequence[Path]) -> Iterator[pa.Table]:
        remaining = self._merged(runs)
        while some := list(islice(remaining, _ROWS)):
            yield pa.Table.from_pylist(some, self._schema)

    def _merged(self, runs: Sequence[Path]) -> Iterator[_Row]:
        key: Callable[[_Row], Any] = itemgetter(*self._keys)
        with ExitStack() as stack:
            readers = [pa.ipc.open_stream(stack.enter_context(path.open("rb"))) for path in runs]
            yield from merge(*map(_rows_of, readers), key=key)


def _rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[_Row]:
    for batch in batches:
        yield from batch.to_pylist()


def as_bytes(text: str) -> bytes:
    """Return any text as bytes in the order of UTF-8, where tables hold no text of half pairs."""
    return text.encode(errors="surrogatepass")


def as_text(content: bytes) -> str:
    """Return the text that `as_bytes` was given."""
    return content.decode(errors="surrogatepass")
