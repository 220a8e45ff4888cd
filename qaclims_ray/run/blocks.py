"""Unfinished blocks of an artifact, whatever was interrupted.

    <work>/rows/<block>-0.parquet             rows; those that failed have an `error`
    <work>/checkpoint/<block>.parquet         keys of the block's rows
    <work>/checkpoint/<block>.pending.parquet the same while the rows are being written
    <work>/listing/part-00000.parquet         what is mapped, where it is no artifact
    <work>/crash_log/*.json                   what processes are at, see `faults`

Ray Data writes a pending checkpoint, then the rows, and renames the checkpoint last. A checkpoint
without rows would hide that they are missing; rows without a checkpoint are computed again. So a
checkpoint is always removed or cut before its rows are, and rows without one count for nothing.
"""

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple, NotRequired, TypeAlias

import pyarrow as pa
import pyarrow.dataset as pads
from typing_extensions import TypedDict

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.graph import ARTIFACTS, schema_of
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import find, remove
from qaclims_ray.storage.parquet import num_values, read_footers, read_parquet, write_parquet
from qaclims_ray.storage.records import read_record
from qaclims_ray.types import NOTES

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
"""How far a training is, in its work folder: a `TrainingProgress`."""
_PENDING = ".pending"
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
    """What a file of rows holds."""

    rows: int
    errors: int
    parts: int


class PendingBlocks:
    """Unfinished blocks of one artifact."""

    def __init__(self, target: Artifact, parts: str | None = None) -> None:
        """`parts` names a list column whose elements are counted too, such as `answers`."""
        self.rows = f"{target.work}/rows"
        self.checkpoint = f"{target.work}/checkpoint"
        self.crash_log = f"{target.work}/crash_log"
        self.listing = f"{target.work}/listing/part-00000.parquet"
        self._schema = block_schema(target.name)
        self._key = self._schema.names[0]
        self._parts = parts
        self._counts: dict[str, Count] = {}

    def blocks(self) -> list[str]:
        """Files of rows."""
        return find(f"{self.rows}/*.parquet")

    def put(self, block: str, rows: pa.Table) -> None:
        """Write a block that no map makes; it is there for good once it has its checkpoint."""
        write_parquet(rows, f"{self.rows}/{block}-0.parquet")
        write_parquet(rows.select([self._key]), f"{self.checkpoint}/{block}.parquet")

    def count(self) -> Count:
        """Of all files of rows; each is looked at once, as soon as it is whole."""
        blocks = self.blocks()
        self._look_at(blocks)
        known = [self._counts[uri] for uri in blocks if uri in self._counts]
        return Count(*map(sum, zip(*known, strict=True))) if known else Count(0, 0, 0)

    def resume(self) -> int:
        """Make ready to go on: remove what is not whole, forget failed rows; how many are done."""
        self.tidy()
        self._forget_failed()
        footers = read_footers(self._checkpoints())
        return sum(footer.num_rows for footer in footers if footer is not None)

    def tidy(self) -> None:
        """Remove all but blocks that have rows and checkpoint, both whole.

        A process of a driver that was killed may have gone on for a moment: what it left without
        a checkpoint would be rows computed twice.
        """
        blocks, checkpoints = self.blocks(), self._checkpoints()
        self._look_at(blocks)
        footers = read_footers(checkpoints)
        readable = {uri for uri, one in zip(checkpoints, footers, strict=True) if one is not None}
        broken = {_block(uri) for uri in blocks if uri not in self._counts}
        committed = {_name(uri) for uri in readable if not _name(uri).endswith(_PENDING)}
        whole = (committed - broken) & {_block(uri) for uri in blocks}
        self._remove(uri for uri in checkpoints if _name(uri) not in whole)
        self._remove(uri for uri in blocks if _block(uri) not in whole)

    def _forget_failed(self) -> None:
        good = pads.field("error").is_null()
        for uri in self.blocks():
            if self._counts[uri].errors:
                rows = read_parquet(uri, self._schema)
                failed = rows.filter(~good)[self._key].combine_chunks()
                checkpoint = f"{self.checkpoint}/{_block(uri)}.parquet"
                done = read_parquet(checkpoint, pa.schema([(self._key, pa.string())]))
                self._replace(checkpoint, done.filter(~pads.field(self._key).isin(failed)))
                self._replace(uri, rows.filter(good))

    def _replace(self, uri: str, rows: pa.Table) -> None:
        self._counts.pop(uri, None)
        if len(rows):
            write_parquet(rows, uri)
        else:
            remove(uri)

    def _checkpoints(self) -> list[str]:
        return find(f"{self.checkpoint}/*.parquet")

    def _remove(self, uris: Iterable[str]) -> None:
        for uri in uris:
            log.info("%s is not whole: removed", uri)
            self._counts.pop(uri, None)
            remove(uri)

    def _look_at(self, blocks: list[str]) -> None:
        new = [uri for uri in blocks if uri not in self._counts]
        for uri, footer in zip(new, read_footers(new), strict=True):
            if footer is not None:
                parts = 0 if self._parts is None else num_values(footer, f"{self._parts}.")
                self._counts[uri] = Count(footer.num_rows, num_values(footer, "error"), parts)


def _name(uri: str) -> str:
    return uri.rpartition("/")[2].removesuffix(".parquet")


def _block(uri: str) -> str:
    """Block of a file of rows; Ray Data numbers the files of a block."""
    return _name(uri).rpartition("-")[0]


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
        write_parquet(actor(table), f"{work.rows}/{number:05d}-0.parquet")


class BlockProgress:
    """Counts an artifact's unfinished rows, each file once."""

    def __init__(self, target: Artifact, parts: str | None = None) -> None:
        """`parts` names a list column whose elements count too, such as `answers`."""
        self._work = PendingBlocks(target, parts)
        self._parts = parts
        self._first: Count | None = None
        self._now = Count(0, 0, 0)

    def __call__(self) -> int:
        """Rows written so far, failed ones included."""
        self._now = self._work.count()
        self._first = self._first or self._now
        return self._now.rows

    def detail(self, seconds: float) -> str:
        """Parts per second since the first count, and errors."""
        errors = f"{self._now.errors} errors"
        if self._parts is None or self._first is None:
            return errors
        done = self._now.parts - self._first.parts
        return f"{done / max(seconds, 1e-9):.1f} {self._parts}/s, {errors}"
