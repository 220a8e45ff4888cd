"""Publish an artifact: from blocks as they were finished to shards in the order of names.

What is published depends on the rows alone, not on the blocks that they were finished in, nor on
where the work is done.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from qaclims_ray.run.artifact import ERRORS, Artifact
from qaclims_ray.run.blocks import PendingBlocks, work_schema
from qaclims_ray.run.contents import digest_of, note_digests
from qaclims_ray.run.sorted_index import (
    PART_ROWS,
    THREADS,
    Range,
    Read,
    RunTasks,
    load_index,
    ranges_by_tasks,
    ranges_here,
    run_here,
)
from qaclims_ray.run.tables import ROW_GROUP, frequent_reasons
from qaclims_ray.storage.files import remove, write_bytes
from qaclims_ray.storage.parquet import parquet_bytes, read_parquet, write_parquet


class _Shard(NamedTuple):
    """One shard: the rows that begin at a byte from `begin` to before `end`, of all good rows."""

    number: int
    begin: float
    end: float
    parts: list[tuple[int, pa.Table | str]]
    """Ranges that can hold them: bytes before each, and its index."""


def publish(
    artifact: Artifact,
    *,
    shard_megabytes: float,
    max_errors: int,
    expected: int | None = None,
    run_tasks: RunTasks = run_here,
    part_rows: int = PART_ROWS,
) -> tuple[int, int]:
    """Turn the blocks of `artifact.work` into sorted shards of about equal bytes and `_errors`.

    Up to `part_rows` rows are sorted here: four shards, four blocks and an index of these rows are
    in memory at a time. More of them are sorted by tasks, each of which holds an index of about as
    many rows, or a shard; here, nothing grows with the rows but the list of shards, and failures.

    Args:
        artifact: What to publish; shards that are there already are removed.
        shard_megabytes: Size that shards aim at, in MB.
        max_errors: Rows that may have failed.
        expected: Number of rows that must be there, failed ones included; None: few, and not known.
        run_tasks: Carries out the tasks; threads of this process do by themselves.
        part_rows: Rows that a task sorts.

    Returns:
        Numbers of good and of failed rows.

    Raises:
        ValueError: more than `max_errors` rows failed, or all; the first reasons are shown. Rows
            are missing, or there twice.
    """
    blocks, schema = PendingBlocks(artifact).blocks(), work_schema(artifact.name)
    if expected is not None and expected > part_rows and blocks:
        write = _write_shard
        ranges = ranges_by_tasks(artifact, blocks, part_rows, expected, run_tasks)
    else:
        read = lru_cache(maxsize=THREADS)(partial(read_parquet, schema=schema))
        write, run_tasks = partial(_write_shard, read=read), run_here
        ranges = ranges_here(blocks, read)
    _check_once(artifact, ranges, expected)
    failed, good = pa.concat_tables([one.failed for one in ranges]), sum(one.good for one in ranges)
    if len(failed) and (len(failed) > max_errors or not good):
        raise ValueError(_why(artifact, failed, max_errors))
    for shard in artifact.shards():
        remove(shard)
    remove(f"{artifact.uri}/{ERRORS}")
    calls = [(artifact, one) for one in _cut(ranges, shard_megabytes * 1e6)]
    note_digests(artifact.work, dict(run_tasks(write, calls, "write")))
    if len(failed):
        errors = failed.rename_columns([schema.names[0], "reason"])
        write_parquet(errors, f"{artifact.uri}/{ERRORS}/part-00000.parquet", ROW_GROUP)
    return good, len(failed)


def _check_once(artifact: Artifact, ranges: Sequence[Range], expected: int | None) -> None:
    num_keys, num_different = sum(one.rows for one in ranges), sum(one.different for one in ranges)
    wanted = num_keys if expected is None else expected
    if not num_different == num_keys == wanted:
        raise ValueError(
            f"{artifact.uri}: {num_keys:,} rows were computed, {num_different:,} different ones, "
            f"{wanted:,} are wanted: what they are made from changed while the work was under way; "
            "pass --overwrite"
        )


def _why(artifact: Artifact, failed: pa.Table, max_errors: int) -> str:
    lines = "\n  ".join(frequent_reasons(failed))
    return (
        f"{artifact.uri}: {len(failed)} rows failed, data.max_errors is {max_errors}. Most often:\n"
        f"  {lines}\nMend the input, or raise data.max_errors, and run the same command: what went "
        "well is kept, what failed is tried again."
    )


def _cut(ranges: Sequence[Range], target: float) -> list[_Shard]:
    """Cut rows into runs of about equal bytes, none much above `target`; none at all stay one."""
    ends = np.cumsum([one.bytes for one in ranges])
    begins = ends - [one.bytes for one in ranges]
    num_shards = max(1, int(np.ceil(ends[-1] / target)))
    borders = [0.0, *(np.arange(1, num_shards) * ends[-1] / num_shards).tolist(), np.inf]
    firsts = np.searchsorted(ends, borders[:-1])
    lasts = np.searchsorted(begins, borders[1:])
    # A row without bytes at the end of a range begins where the next range does.
    return [
        _Shard(number, *both, [(int(begins[i]), ranges[i].place) for i in range(first, last)])
        for number, (both, first, last) in enumerate(
            zip(pairwise(borders), firsts, lasts, strict=True)
        )
    ]


def _write_shard(artifact: Artifact, shard: _Shard, read: Read | None = None) -> tuple[str, str]:
    """Write a shard; return its name and the digest of its bytes."""
    schema = work_schema(artifact.name)
    parts = [_within(load_index(place), before, shard) for before, place in shard.parts]
    index = pa.concat_tables(parts).unify_dictionaries()
    table = _gather(read or partial(read_parquet, schema=schema), index, schema)
    content = parquet_bytes(table.drop_columns("error"), ROW_GROUP)
    name = f"part-{shard.number:05d}.parquet"
    write_bytes(f"{artifact.uri}/{name}", content, durable=True)
    return name, digest_of(content)


def _within(index: pa.Table, before: int, shard: _Shard) -> pa.Table:
    """The rows of a range that begin in a shard's bytes; `before` lie before the range."""
    sizes = index["size"].to_numpy()
    begins = before + np.cumsum(sizes) - sizes
    start, stop = np.searchsorted(begins, [shard.begin, shard.end])
    return index.slice(start, stop - start)


def _gather(read: Read, index: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of an index in its order, read block by block."""
    blocks, rows = index["block"].combine_chunks(), index["row"].to_numpy()
    numbers = blocks.indices.to_numpy()
    places = {number: np.flatnonzero(numbers == number) for number in np.unique(numbers)}
    parts = [
        read(blocks.dictionary[int(number)].as_py()).take(rows[where])
        for number, where in places.items()
    ]
    order = np.concatenate([np.zeros(0, np.int64), *places.values()])
    return pa.concat_tables([schema.empty_table(), *parts]).take(np.argsort(order))
