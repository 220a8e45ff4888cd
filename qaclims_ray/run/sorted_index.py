"""Where each finished row lies, in the order of keys: in memory for few rows, else on storage.

The index of some blocks is sorted by itself; ranges of keys are then merged from all of them. So
no process ever sees the keys of more than a part of the rows.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from jaxtyping import Int

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import work_schema
from qaclims_ray.storage.files import remove
from qaclims_ray.storage.filesystem import in_threads
from qaclims_ray.storage.parquet import collect, open_parquet, read_parquet, write_parquet

PART_ROWS = 2**16
"""Rows of a part of the index; as few are sorted where the work is asked for, without tasks."""
_MOST_PARTS = 256
"""Parts at most: each range is merged from all parts, so their product is read."""
_SAMPLES = 256
"""Keys that stand for a part when ranges are chosen: no range is twice as long as another."""
THREADS = 4
"""Blocks, or shards, that are in memory at a time."""
_ROW_GROUP = 1024

Read: TypeAlias = Callable[[str], pa.Table]
"""URI of a block to its rows."""
RunTasks: TypeAlias = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]], str], list[Any]]
"""Carries out calls of a function, some at a time; the string says what they do."""

_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("block", pa.dictionary(pa.int32(), pa.string())),
        ("row", pa.int32()),
        ("size", pa.int64()),
        ("error", pa.string()),
    ]
)


class Range(NamedTuple):
    """The rows whose keys lie in a range."""

    rows: int
    different: int
    """Different keys."""
    good: int
    bytes: int
    """Bytes of good rows."""
    failed: pa.Table
    """Key and error."""
    place: pa.Table | str
    """Index of good rows, in the order of keys; or the file that holds it."""


def run_here(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]], _label: str) -> list[Any]:
    """Carry out calls in threads of this process (a `RunTasks`)."""
    return in_threads(lambda call: work(*call), calls, THREADS)


def ranges_here(blocks: Sequence[str], read: Read) -> list[Range]:
    """Index all rows in this process, as one range."""
    return [_range_of(_index(blocks, read))]


def ranges_by_tasks(
    artifact: Artifact, blocks: Sequence[str], part_rows: int, num_rows: int, run_tasks: RunTasks
) -> list[Range]:
    """Index rows by tasks, on storage, as ranges of about `part_rows` rows, more if there are many.

    Args:
        artifact: Whose rows.
        blocks: Their files, one at least.
        part_rows: Rows of a range.
        num_rows: How many there should be.
        run_tasks: Carries out the tasks.
    """
    remove(_folder(artifact))
    num_parts = min(len(blocks), _MOST_PARTS, -(-num_rows // part_rows))
    step = max(1, num_rows // num_parts // _SAMPLES)
    cuts = np.linspace(0, len(blocks), num_parts + 1).astype(int)
    calls = [(artifact, part, blocks[a:b], step) for part, (a, b) in enumerate(pairwise(cuts))]
    samples = sorted(key for keys in run_tasks(_index_part, calls, "index") for key in keys)
    borders = {samples[len(samples) * part // num_parts] for part in range(1, num_parts) if samples}
    limits = pairwise([None, *sorted(borders), None])
    parts = [_part(artifact, part) for part in range(num_parts)]
    numbered = [(artifact, parts, number, *both) for number, both in enumerate(limits)]
    return run_tasks(_merge, numbered, "sort")


def load_index(place: pa.Table | str) -> pa.Table:
    """Return the index of a range."""
    return read_parquet(place, _SCHEMA) if isinstance(place, str) else place


def _index_part(artifact: Artifact, part: int, blocks: Sequence[str], step: int) -> list[str]:
    """Write the index of some blocks; return its keys, one of `step` each."""
    schema = work_schema(artifact.name)
    index = _index(blocks, lambda uri: read_parquet(uri, schema))
    write_parquet(index, _part(artifact, part), _ROW_GROUP)
    return index["key"].take(np.arange(0, len(index), step)).to_pylist()


def _merge(
    artifact: Artifact, parts: Sequence[str], number: int, first: str | None, end: str | None
) -> Range:
    """Merge what all parts have from the key `first` to before the key `end`."""
    key = pads.field("key")
    wanted = pads.scalar(True)
    wanted = wanted if first is None else wanted & (key >= first)
    wanted = wanted if end is None else wanted & (key < end)
    index = collect(lambda: open_parquet(parts, _SCHEMA), _folder(artifact), wanted=wanted)
    found = _range_of(index.unify_dictionaries().sort_by("key"))
    uri = f"{_folder(artifact)}/range-{number:05d}.parquet"
    write_parquet(load_index(found.place), uri)
    return found._replace(place=uri)


def _range_of(index: pa.Table) -> Range:
    good = index.filter(index["error"].is_null())
    return Range(
        rows=len(index),
        different=pc.call_function("count_distinct", [index["key"]]).as_py(),
        good=len(good),
        bytes=int(good["size"].to_numpy().sum()),
        failed=index.filter(index["error"].is_valid()).select(["key", "error"]),
        place=good,
    )


def _index(blocks: Sequence[str], read: Read) -> pa.Table:
    """Where each row is and how many bytes it takes, in the order of keys."""

    def one(block: str) -> pa.Table:
        """Index one block."""
        table = read(block)
        columns = table.drop_columns("error").columns
        sizes = np.sum([_sizes(column.combine_chunks()) for column in columns], axis=0)
        place = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), [block])
        rows = np.arange(len(table), dtype=np.int32)
        return pa.table([table[0], place, rows, sizes, table["error"]], schema=_SCHEMA)

    parts = in_threads(one, blocks, THREADS)
    return pa.concat_tables([_SCHEMA.empty_table(), *parts]).unify_dictionaries().sort_by("key")


def _sizes(values: Any) -> Int[np.ndarray, "rows"]:
    """Bytes of each value; Arrow's own count depends on what else its block holds."""
    if pa.types.is_struct(values.type):
        return np.sum([_sizes(field) for field in values.flatten()], axis=0)
    if pa.types.is_list(values.type):
        lengths = values.value_lengths().fill_null(0).to_numpy()
        parents = np.repeat(np.arange(len(values)), lengths)
        return np.bincount(parents, _sizes(values.flatten()), len(values)).astype(np.int64)
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return pc.call_function("binary_length", [values]).fill_null(0).to_numpy().astype(np.int64)
    return np.full(len(values), values.type.bit_width // 8)


def _folder(artifact: Artifact) -> str:
    return f"{artifact.work}/index"


def _part(artifact: Artifact, part: int) -> str:
    return f"{_folder(artifact)}/part-{part:05d}.parquet"
