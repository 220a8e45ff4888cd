"""How far a map is: counted from the footers of the files that it has written."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qaclims_ray.artifacts import Artifact
from qaclims_ray.storage import arrow_filesystem, find


class Written:
    """Counts an artifact's unfinished rows, each file once."""

    def __init__(self, target: Artifact, parts: str | None = None) -> None:
        """`parts` names a list column whose elements count too, such as `answers`."""
        self._target = target
        self._parts = parts
        self._seen: set[str] = set()
        self.num_rows = self.num_errors = self.num_parts = 0
        self._first_parts: int | None = None

    def __call__(self) -> int:
        """Rows written so far, failed ones included."""
        for uri in find(f"{self._target.work}/rows/*.parquet"):
            if uri not in self._seen:
                self._add(uri)
        if self._first_parts is None:
            self._first_parts = self.num_parts
        return self.num_rows

    def detail(self, seconds: float) -> str:
        """Parts per second since the first count, and errors."""
        errors = f"{self.num_errors} errors"
        if self._parts is None:
            return errors
        done = self.num_parts - (self._first_parts or 0)
        return f"{done / max(seconds, 1e-9):.1f} {self._parts}/s, {errors}"

    def _add(self, uri: str) -> None:
        fs, path = arrow_filesystem(uri)
        try:
            footer = pq.read_metadata(path, filesystem=fs)
        except (FileNotFoundError, pa.ArrowInvalid):
            return  # uncommitted when a driver was killed, and removed since; or only half written
        self._seen.add(uri)
        self.num_rows += footer.num_rows
        self.num_errors += footer.num_rows - _nulls(footer, "error")
        if self._parts is not None:
            self.num_parts += _values(footer, f"{self._parts}.") - _nulls(footer, f"{self._parts}.")


def num_committed(target: Artifact) -> int:
    """Rows that a map's checkpoint says are written for good."""
    files = find(f"{target.work}/checkpoint/*.parquet")
    return sum(_num_rows(uri) for uri in files if not uri.endswith(".pending.parquet"))


def _num_rows(uri: str) -> int:
    fs, path = arrow_filesystem(uri)
    return pq.read_metadata(path, filesystem=fs).num_rows


def _values(footer: Any, column: str) -> int:
    return sum(chunk.num_values for chunk in _chunks(footer, column))


def _nulls(footer: Any, column: str) -> int:
    return sum(chunk.statistics.null_count for chunk in _chunks(footer, column))


def _chunks(footer: Any, column: str) -> list[Any]:
    """Of each row group the first column whose path starts so."""
    paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
    wanted = next(i for i, path in enumerate(paths) if path.startswith(column))
    return [footer.row_group(group).column(wanted) for group in range(footer.num_row_groups)]
