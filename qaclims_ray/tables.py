"""An artifact's rows: from blocks as they were finished to shards in the order of names, and back.

Whatever was interrupted, retried or finished out of order: the published files are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from jaxtyping import Int

from qaclims_ray.artifacts import ERRORS, Artifact
from qaclims_ray.storage import arrow_filesystem, atomic_open, find, patiently
from qaclims_ray.types import SCHEMAS

ROW_GROUP = 64
"""Rows of a Parquet row group: what a look-up by name reads."""
_ERRORS_SHOWN = 5

Rows = Sequence[Mapping[str, Any]]


def work_schema(name: str) -> pa.Schema:
    """Columns of an artifact's unfinished blocks: its own and `error`, null where all went well."""
    return SCHEMAS[name].append(pa.field("error", pa.string()))


def read_parquet(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file, or some of its columns, wherever it lies."""
    fs, path = arrow_filesystem(uri)
    wanted = None if columns is None else list(columns)
    return patiently(lambda: pq.read_table(path, columns=wanted, filesystem=fs), uri)


def retry_failed(artifact: Artifact) -> None:
    """Forget the failed rows of unfinished work, so that they are tried again."""
    key = SCHEMAS[artifact.name].names[0]
    failed: set[str] = set()
    for uri in find(f"{artifact.work}/rows/*.parquet"):
        good = [error is None for error in read_parquet(uri, ["error"])["error"].to_pylist()]
        if not all(good):
            rows = read_parquet(uri)
            names = rows[key].to_pylist()
            failed |= {name for name, fine in zip(names, good, strict=True) if not fine}
            _write(rows.filter(good), uri)
    for uri in find(f"{artifact.work}/checkpoint/*.parquet") if failed else ():
        done = read_parquet(uri)
        _write(done.filter([name not in failed for name in done[key].to_pylist()]), uri)


def publish(
    artifact: Artifact, *, shard_megabytes: float, max_errors: int, expected: int | None = None
) -> tuple[int, int]:
    """Turn the blocks of `artifact.work` into sorted shards of about equal bytes and `_errors`.

    Args:
        artifact: What to publish; its blocks are the Parquet files in `work`/rows.
        shard_megabytes: Size that shards aim at, in MB.
        max_errors: Rows that may have failed.
        expected: Number of rows that must be there, failed ones included.

    Returns:
        Numbers of good and of failed rows.

    Raises:
        ValueError: more than `max_errors` rows failed, or all; the first reasons are shown.
    """
    files = find(f"{artifact.work}/rows/*.parquet")
    schema = work_schema(artifact.name)

    @lru_cache(maxsize=8)
    def read(file: int) -> pa.Table:
        return read_parquet(files[file]).select(schema.names).cast(schema)

    key = schema.names[0]
    index = [_index(read(number), key, number) for number in range(len(files))]
    good = sorted(row for rows, _ in index for row in rows)
    failed = sorted(row for _, rows in index for row in rows)
    names = [row[0] for row in [*good, *failed]]
    assert len(set(names)) == len(names), "a row was computed twice"
    assert expected is None or len(names) == expected, f"{len(names)} rows of {expected}"
    if failed and (len(failed) > max_errors or not good):
        raise ValueError(_why(artifact, failed, max_errors))
    for number, rows in enumerate(_cut(good, shard_megabytes * 1e6)):
        table = _gather(read, rows, schema).drop_columns("error")
        _write(table, f"{artifact.uri}/part-{number:05d}.parquet")
    if failed:
        errors = {key: [row[0] for row in failed], "reason": [row[4] for row in failed]}
        _write(pa.table(errors), f"{artifact.uri}/{ERRORS}/part-00000.parquet")
    return len(good), len(failed)


_Row = tuple[str, int, int, int, str]
"""Key, number of the file, row in it, bytes, error."""


def _index(table: pa.Table, key: str, file: int) -> tuple[list[_Row], list[_Row]]:
    good: list[_Row] = []
    failed: list[_Row] = []
    errors = table["error"].to_pylist()
    columns = table.drop_columns("error").columns
    sizes = np.sum([_sizes(column.combine_chunks()) for column in columns], axis=0)
    for row, name in enumerate(table[key].to_pylist()):
        error = errors[row]
        size = int(sizes[row])
        (good if error is None else failed).append((name, file, row, size, error or ""))
    return good, failed


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


def _why(artifact: Artifact, failed: Sequence[_Row], max_errors: int) -> str:
    lines = "\n  ".join(f"{row[0]}: {row[4]}" for row in failed[:_ERRORS_SHOWN])
    return (
        f"{artifact.uri}: {len(failed)} rows failed, data.max_errors is {max_errors}. First:\n"
        f"  {lines}\nMend the input, or raise data.max_errors, and run the same command: what went "
        "well is kept, what failed is tried again."
    )


def _cut(rows: Sequence[_Row], target: float) -> Iterator[Sequence[_Row]]:
    """Cut rows into runs of about equal bytes, none much above `target`; none at all stay one."""
    ends = np.cumsum([row[3] for row in rows]) if rows else np.zeros(1)
    num_shards = max(1, int(np.ceil(ends[-1] / target)))
    borders = np.searchsorted(ends, np.arange(1, num_shards) * ends[-1] / num_shards)
    cuts = [0, *(int(border) + 1 for border in borders), len(rows)]
    for start, stop in pairwise(cuts):
        yield rows[start:stop]


def _gather(read: Any, rows: Sequence[_Row], schema: pa.Schema) -> pa.Table:
    """The given rows in their order, read file by file."""
    order = sorted(range(len(rows)), key=lambda i: rows[i][1:3])
    parts = [schema.empty_table()]
    start = 0
    while start < len(order):
        file = rows[order[start]][1]
        stop = start
        while stop < len(order) and rows[order[stop]][1] == file:
            stop += 1
        parts.append(read(file).take([rows[i][2] for i in order[start:stop]]))
        start = stop
    return pa.concat_tables(parts).take(np.argsort(order, kind="stable"))


def _write(table: pa.Table, uri: str) -> None:
    with atomic_open(uri) as file:
        pq.write_table(table, file, row_group_size=ROW_GROUP)


def dataset(artifact: Artifact) -> pads.Dataset:
    """The shards of a complete artifact as a pyarrow dataset (lazy; filters prune row groups)."""
    fs, _ = arrow_filesystem(artifact.uri)
    paths = [arrow_filesystem(shard)[1] for shard in artifact.shards()]
    return pads.dataset(paths, format="parquet", filesystem=fs)


def read_table(artifact: Artifact, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a complete artifact, sorted by name."""
    return dataset(artifact).to_table(columns=None if columns is None else list(columns))


def look_up(artifact: Artifact, names: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """The rows called `names`, sorted by name; others are left out without being read."""
    wanted = pads.field("name").isin(pa.array(names, pa.string()))
    return dataset(artifact).to_table(columns=list(columns), filter=wanted)
