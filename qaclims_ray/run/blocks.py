"""Unfinished blocks of an artifact, whatever was interrupted.

    <work>/rows/<block>.parquet               rows; those that failed have an `error`
    <work>/listing/part-00000.parquet         what is mapped, where it is no artifact
    <work>/crash_log/*.json                   what processes are at, see `faults`

A block appears whole, by one request to a store, and says by itself which rows are done: there is
no second file to agree with, and nothing to commit. Its name follows from its keys, so that whoever
computes the same rows once more, such as a task whose node was lost, replaces it.
"""

import logging
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple, NotRequired, TypeAlias

import pyarrow as pa
import pyarrow.dataset as pads
from typing_extensions import TypedDict

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.done_rows import DoneRows
from qaclims_ray.run.graph import ARTIFACTS, schema_of
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import remove
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import (
    key_range,
    num_values,
    read_footers,
    read_parquet,
    write_parquet,
)
from qaclims_ray.storage.records import read_record
from qaclims_ray.types import NOTES

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
"""How far a training is, in its work folder: a `TrainingProgress`."""
_HERE = "here-"
"""How the names of blocks begin that a map without Ray wrote, which always starts afresh."""
_Actor: TypeAlias = Callable[[pa.Table], pa.Table]


def work_schema(name: str) -> pa.Schema:
    """Columns of an artifact's unfinished blocks: its own and `error`, null where all went well."""
    return schema_of(name).append(pa.field("error", pa.string()))


def block_schema(name: str) -> pa.Schema:
    """Columns of an artifact's unfinished blocks with the notes of its stage; see `types.NOTES`."""
    return pa.schema([*work_schema(name), *NOTES.get(ARTIFACTS[name].kind, ())])


class TrainingProgress(TypedDict):
    """How far a training is."""

    step: int
    """Steps that were taken."""
    dead: NotRequired[int]
    """Steps in a row whose maps were dead."""


def num_done(target: Artifact) -> int:
    """Count what earlier attempts left of an artifact: rows of a map, or steps of a training."""
    if ARTIFACTS[target.name].kind == "network":
        said = attempt(read_record, f"{target.work}/{PROGRESS}", TrainingProgress)
        return 0 if said is None or isinstance(said, ValueError) else said["step"]
    return PendingBlocks(target).count().rows


class Count(NamedTuple):
    """What files of rows hold."""

    rows: int
    errors: int
    parts: int


_WRITTEN = pa.schema([("block", pa.string()), *((name, pa.int64()) for name in Count._fields)])


class _Block(NamedTuple):
    """What is known of a file of rows."""

    holds: Count
    keys: tuple[str, str] | None = None
    """The least and the greatest, failed ones included; None: not known."""


class PendingBlocks:
    """Unfinished blocks of one artifact."""

    def __init__(self, target: Artifact, parts: str | None = None) -> None:
        """`parts` names a list column whose elements are counted too, such as `answers`."""
        self.rows = f"{target.work}/rows"
        self.crash_log = f"{target.work}/crash_log"
        self.listing = f"{target.work}/listing/part-00000.parquet"
        self._schema = block_schema(target.name)
        self._key = self._schema.names[0]
        self._parts = parts
        self._known: dict[str, _Block] = {}  # by their names

    def blocks(self) -> list[str]:
        """Files of rows."""
        return find(f"{self.rows}/*.parquet")

    def put(self, block: str, rows: pa.Table) -> None:
        """Write a block."""
        write_parquet(rows, self._uri(block))

    def write(self, rows: pa.Table) -> pa.Table:
        """Write a block of a map; return one row that says so to `note`, none for no rows."""
        if not len(rows):
            return _WRITTEN.empty_table()
        keys = "\0".join(rows[self._key].to_pylist())
        block = blake2b(keys.encode(), digest_size=16).hexdigest()
        self.put(block, rows)
        said = {"block": block, **_count(rows, self._parts)._asdict()}
        return pa.Table.from_pylist([said], schema=_WRITTEN)

    def note(self, written: pa.Table) -> Count:
        """Take blocks that `write` wrote, wherever it did, for whole; return what they hold."""
        counts = {row.pop("block"): Count(**row) for row in written.to_pylist()}
        self._known |= {block: _Block(count) for block, count in counts.items()}
        return _total(counts.values())

    def count(self) -> Count:
        """Count all files of rows that are whole; each is looked at once."""
        self._look_at(self.blocks())
        return _total(block.holds for block in self._known.values())

    def resume(self) -> Count:
        """Make ready to go on: remove what is not whole, forget failed rows; what is left."""
        self._look_at([uri for uri in self.blocks() if not _name(uri).startswith(_HERE)])
        self.tidy()
        good = pads.field("error").is_null()
        for name, block in list(self._known.items()):
            if block.holds.errors == block.holds.rows:
                self._remove([name])
            elif block.holds.errors:
                rows = read_parquet(self._uri(name), self._schema).filter(good)
                self.put(name, rows)
                self._known[name] = _Block(_count(rows, self._parts), block.keys)
        return _total(block.holds for block in self._known.values())

    def tidy(self) -> None:
        """Remove blocks that are neither noted nor were whole at `resume`.

        A process of a driver that was killed may have gone on for a moment: what it left would be
        rows computed twice.
        """
        self._remove(block for block in map(_name, self.blocks()) if block not in self._known)

    def done(self) -> DoneRows:
        """Return what drops the rows that are done; none of them failed, after `resume`."""
        blocks = {self._uri(name): block.keys for name, block in self._known.items()}
        return DoneRows(self._key, blocks)

    def _uri(self, block: str) -> str:
        return f"{self.rows}/{block}.parquet"

    def _remove(self, blocks: Iterable[str]) -> None:
        for block in blocks:
            log.info("%s is of no use: removed", self._uri(block))
            self._known.pop(block, None)
            remove(self._uri(block))

    def _look_at(self, blocks: list[str]) -> None:
        new = [uri for uri in blocks if _name(uri) not in self._known]
        for uri, footer in zip(new, read_footers(new), strict=True):
            if footer is not None:
                parts = 0 if self._parts is None else num_values(footer, f"{self._parts}.")
                count = Count(footer.num_rows, num_values(footer, "error"), parts)
                self._known[_name(uri)] = _Block(count, key_range(footer))


def _name(uri: str) -> str:
    return uri.rpartition("/")[2].removesuffix(".parquet")


def _count(rows: pa.Table, parts: str | None) -> Count:
    num_parts = 0 if parts is None else len(rows[parts].combine_chunks().flatten())
    return Count(len(rows), len(rows) - rows["error"].null_count, num_parts)


def _total(counts: Iterable[Count]) -> Count:
    return Count(*map(sum, zip(Count(0, 0, 0), *counts, strict=True)))


def reopen(target: Artifact) -> None:
    """Make a complete artifact's rows blocks of unfinished work; those that failed are missing."""
    remove(target.work)
    work = PendingBlocks(target)
    for number, shard in enumerate(target.shards()):
        rows = read_parquet(shard, schema_of(target.name))
        none = pa.nulls(len(rows), pa.string())
        work.put(f"again{number:05d}", rows.append_column("error", none))


def map_here(
    tables: Iterable[pa.Table], target: Artifact, make_actor: Callable[[], _Actor]
) -> None:
    """Map an actor over tables of rows in this process: `cluster.maps.map_actor` without Ray.

    Unfinished blocks that are there already are removed first, and the crash log with them.

    Args:
        tables: Rows of the input; those of one table become one block.
        target: Artifact under way.
        make_actor: Makes the actor, which turns a table into an unfinished block
            (`faults.IsolatedMap`).
    """
    work = PendingBlocks(target)
    remove(work.rows)
    remove(work.crash_log)
    actor = make_actor()
    for number, table in enumerate(tables):
        work.put(f"{_HERE}{number:05d}", actor(table))


class BlockProgress:
    """Adds up the rows of an artifact's blocks as they are written."""

    def __init__(self, before: Count, parts: str | None = None) -> None:
        """Begin with what was done before, which counts for no rate.

        `parts` names the list column whose elements were counted, such as `answers`.
        """
        self._before = self._now = before
        self._parts = parts

    def add(self, more: Count) -> None:
        """Add what further blocks hold."""
        self._now = _total([self._now, more])

    def __call__(self) -> int:
        """Rows written so far, failed ones included."""
        return self._now.rows

    def detail(self, seconds: float) -> str:
        """Parts per second since the beginning, and errors."""
        errors = f"{self._now.errors} errors"
        if self._parts is None:
            return errors
        done = self._now.parts - self._before.parts
        return f"{done / max(seconds, 1e-9):.1f} {self._parts}/s, {errors}"
