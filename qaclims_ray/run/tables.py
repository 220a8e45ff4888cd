"""An artifact's rows: from blocks as they were finished to shards in the order of names, and back.

What is published depends on the rows alone, not on the blocks that they were finished in.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from jaxtyping import Int

from qaclims_ray.run.artifact import ERRORS, Artifact
from qaclims_ray.run.blocks import PendingBlocks, work_schema
from qaclims_ray.run.contents import check_digests
from qaclims_ray.run.graph import schema_of
from qaclims_ray.storage.files import find, remove
from qaclims_ray.storage.filesystem import in_threads, patiently
from qaclims_ray.storage.parquet import open_parquet, read_parquet, write_parquet

ROW_GROUP = 64
"""Rows of a Parquet row group: what a look-up by name reads."""
_ERRORS_SHOWN = 5
_THREADS = 4
"""Blocks, or shards, that are in memory at a time."""

Rows = Sequence[Mapping[str, Any]]
_Read = Callable[[int], pa.Table]
"""Number of a block to its rows."""


def publish(
    artifact: Artifact, *, shard_megabytes: float, max_errors: int, expected: int | None = None
) -> tuple[int, int]:
    """Turn the blocks of `artifact.work` into sorted shards of about equal bytes and `_errors`.

    Four shards and four blocks are in memory at a time, and an index of all rows.

    Args:
        artifact: What to publish; shards that are there already are removed.
        shard_megabytes: Size that shards aim at, in MB.
        max_errors: Rows that may have failed.
        expected: Number of rows that must be there, failed ones included.

    Returns:
        Numbers of good and of failed rows.

    Raises:
        ValueError: more than `max_errors` rows failed, or all; the first reasons are shown. Rows
            are missing, or there twice.
    """
    files = PendingBlocks(artifact).blocks()
    schema = work_schema(artifact.name)

    @lru_cache(maxsize=_THREADS)
    def read(block: int) -> pa.Table:
        return read_parquet(files[block], schema)

    index = _index(read, len(files))
    _check_once(artifact, index["key"], expected)
    good = index.filter(index["error"].is_null())
    failed = index.filter(index["error"].is_valid())
    if len(failed) and (len(failed) > max_errors or not len(good)):
        raise ValueError(_why(artifact, failed, max_errors))
    for shard in artifact.shards():
        remove(shard)
    remove(f"{artifact.uri}/{ERRORS}")
    _write_shards(artifact, read, good, shard_megabytes * 1e6)
    if len(failed):
        errors = failed.select(["key", "error"]).rename_columns([schema.names[0], "reason"])
        write_parquet(errors, f"{artifact.uri}/{ERRORS}/part-00000.parquet", ROW_GROUP)
    return len(good), len(failed)


_INDEX = pa.schema(
    [
        ("key", pa.string()),
        ("block", pa.int32()),
        ("row", pa.int32()),
        ("size", pa.int64()),
        ("error", pa.string()),
    ]
)


def _index(read: _Read, num_blocks: int) -> pa.Table:
    """Where each row is and how many bytes it takes, in the order of keys."""

    def one(block: int) -> pa.Table:
        table = read(block)
        columns = table.drop_columns("error").columns
        sizes = np.sum([_sizes(column.combine_chunks()) for column in columns], axis=0)
        blocks, rows = np.full(len(table), block), np.arange(len(table))
        return pa.table([table[0], blocks, rows, sizes, table["error"]], _INDEX.names).cast(_INDEX)

    parts = in_threads(one, range(num_blocks), _THREADS)
    return pa.concat_tables([_INDEX.empty_table(), *parts]).sort_by("key")


def _check_once(artifact: Artifact, keys: pa.ChunkedArray, expected: int | None) -> None:
    num_keys, num_different = len(keys), len(keys.unique())
    wanted = num_keys if expected is None else expected
    if not num_different == num_keys == wanted:
        raise ValueError(
            f"{artifact.uri}: {num_keys:,} rows were computed, {num_different:,} different ones, "
            f"{wanted:,} are wanted: what they are made from changed while the work was under way; "
            "pass --overwrite"
        )


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


def _why(artifact: Artifact, failed: pa.Table, max_errors: int) -> str:
    lines = "\n  ".join(frequent_reasons(failed.select(["key", "error"])))
    return (
        f"{artifact.uri}: {len(failed)} rows failed, data.max_errors is {max_errors}. Most often:\n"
        f"  {lines}\nMend the input, or raise data.max_errors, and run the same command: what went "
        "well is kept, what failed is tried again."
    )


def _write_shards(artifact: Artifact, read: _Read, index: pa.Table, target: float) -> None:
    schema = work_schema(artifact.name)

    def write(shard: tuple[int, slice]) -> None:
        number, rows = shard
        table = _gather(read, index.slice(rows.start, rows.stop - rows.start), schema)
        uri = f"{artifact.uri}/part-{number:05d}.parquet"
        write_parquet(table.drop_columns("error"), uri, ROW_GROUP)

    in_threads(write, enumerate(_cut(index["size"].to_numpy(), target)), _THREADS)


def _cut(sizes: Int[np.ndarray, "rows"], target: float) -> Iterator[slice]:
    """Cut rows into runs of about equal bytes, none much above `target`; none at all stay one."""
    ends = np.cumsum(sizes) if len(sizes) else np.zeros(1)
    num_shards = max(1, int(np.ceil(ends[-1] / target)))
    borders = np.searchsorted(ends, np.arange(1, num_shards) * ends[-1] / num_shards)
    cuts = [0, *(int(border) + 1 for border in borders), len(sizes)]
    for start, stop in pairwise(cuts):
        yield slice(start, stop)


def _gather(read: _Read, index: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of an index in its order, read block by block."""
    blocks, rows = index["block"].to_numpy(), index["row"].to_numpy()
    places = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    parts = [read(int(blocks[where[0]])).take(rows[where]) for where in places]
    order = np.concatenate([np.zeros(0, np.int64), *places])
    return pa.concat_tables([schema.empty_table(), *parts]).take(np.argsort(order))


def dataset(artifact: Artifact) -> pads.Dataset:
    """The shards of a complete artifact as a pyarrow dataset (lazy; filters prune row groups)."""
    return open_parquet(artifact.shards(), schema_of(artifact.name))


def read_table(artifact: Artifact, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a complete artifact, sorted by name."""
    wanted = None if columns is None else list(columns)
    rows = dataset(artifact)
    try:
        return patiently(lambda: rows.to_table(columns=wanted), artifact.uri)
    except ValueError:
        check_files(artifact)
        raise


def check_files(artifact: Artifact) -> None:
    """Look which file is to blame where the rows of a complete artifact cannot be read.

    Raises:
        ValueError: a file is not what was written; it is named.
    """
    manifest = artifact.manifest()
    check_digests(artifact.uri, [] if manifest is None else manifest.get("files", []))


def read_errors(artifact: Artifact, folder: str = ERRORS) -> pa.Table:
    """Key and reason of the rows of an artifact that failed, or, of images, of bad masks.

    Args:
        artifact: A complete one.
        folder: `ERRORS` or `MASK_ERRORS`.
    """
    key = schema_of(artifact.name).names[0]
    schema = pa.schema([(key, pa.string()), ("reason", pa.string())])
    return open_parquet(find(f"{artifact.uri}/{folder}/*.parquet"), schema).to_table()


def write_errors(artifact: Artifact, folder: str, errors: Mapping[str, str]) -> None:
    """Write reasons by the key of their row, in place of those that are there."""
    remove(f"{artifact.uri}/{folder}")
    if errors:
        key = schema_of(artifact.name).names[0]
        table = pa.table({key: list(errors), "reason": list(errors.values())})
        write_parquet(table, f"{artifact.uri}/{folder}/part-00000.parquet", ROW_GROUP)


def frequent_reasons(errors: pa.Table) -> list[str]:
    """Write the five most frequent reasons with their counts and the first row of each.

    Args:
        errors: Keys and reasons. Reasons are alike if they differ in what names their row only.
    """
    alike: dict[str, list[str]] = {}
    for key, reason in zip(*(column.to_pylist() for column in errors.columns), strict=True):
        # The name as a word of its own; where it has subfolders, the path has slashes.
        name = re.escape(key).replace("__", "(?:__|/)")
        shared = re.sub(rf"\S*(?<!\w){name}(?!\w)\S*", "", reason)
        alike.setdefault(shared, []).append(f"{key}: {reason}")
    most = sorted(alike.values(), key=len, reverse=True)[:_ERRORS_SHOWN]
    return [f"{len(one):,} rows, as {one[0]}" if len(one) > 1 else one[0] for one in most]


class NameIndex:
    """Looks up rows of a complete artifact by name; knows which shards can hold a name.

    A look-up opens the shards that it needs: its cost does not grow with the number of rows where
    names that are asked for together lie together, as those of a block do.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Read the first and the last name of each shard from the manifest."""
        self._schema = schema_of(artifact.name)
        self._uri = artifact.uri
        manifest = artifact.manifest()
        files = [] if manifest is None else manifest.get("files", [])
        known = {file["name"]: file.get("keys") for file in files}
        ranges = [(uri, known.get(uri.rpartition("/")[2])) for uri in artifact.shards()]
        self._anywhere = [uri for uri, keys in ranges if keys is None]
        self._ranges = sorted((keys[0], keys[1], uri) for uri, keys in ranges if keys is not None)
        self._firsts = [first for first, _, _ in self._ranges]

    def look_up(self, names: Collection[str], columns: Sequence[str]) -> pa.Table:
        """Return the rows called `names`, sorted by name; others are not read."""
        shards = sorted({*self._anywhere, *filter(None, map(self._shard_of, names))})
        if not shards or not names:
            return self._schema.empty_table().select(list(columns))
        rows = open_parquet(shards, self._schema)
        name = pads.field("name")
        wanted = name.isin(pa.array(list(names), pa.string()))
        within = (name >= min(names)) & (name <= max(names))
        return patiently(
            lambda: rows.to_table(columns=list(columns), filter=within & wanted), self._uri
        )

    def _shard_of(self, name: str) -> str | None:
        """Return the shard that can hold a name."""
        place = bisect_right(self._firsts, name) - 1
        if place < 0 or name > self._ranges[place][1]:
            return None
        return self._ranges[place][2]


def look_up(artifact: Artifact, names: Collection[str], columns: Sequence[str]) -> pa.Table:
    """Return the rows called `names`, sorted by name; see `NameIndex`, for many look-ups."""
    return NameIndex(artifact).look_up(names, columns)
