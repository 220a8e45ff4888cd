"""An artifact's rows, read: all of them, by name, and those that failed."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.run.artifact import ERRORS, Artifact
from qaclims_ray.run.contents import check_digests
from qaclims_ray.run.graph import schema_of
from qaclims_ray.storage.files import remove
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import collect, open_parquet, write_parquet
from qaclims_ray.storage.paths import shown

ROW_GROUP = 64
"""Rows of a Parquet row group: what a look-up by name reads."""
_ERRORS_SHOWN = 5
_AHEAD = 4
"""Batches that are read ahead."""

Rows = Sequence[Mapping[str, Any]]


def dataset(artifact: Artifact) -> pads.Dataset:
    """The shards of a complete artifact as a pyarrow dataset (lazy; filters prune row groups)."""
    return open_parquet(artifact.shards(), schema_of(artifact.name))


def read_table(artifact: Artifact, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a complete artifact, sorted by name."""
    rows = dataset(artifact)
    try:
        return collect(lambda: rows, artifact.uri, columns)
    except ValueError:
        check_files(artifact)
        raise


def batches_of(
    artifact: Artifact,
    columns: Sequence[str] | Mapping[str, pads.Expression],
    rows: pads.Expression | None = None,
    batch_size: int = 4096,
) -> Iterator[pa.RecordBatch]:
    """Rows of a complete artifact in their order, some in memory at a time.

    Args:
        artifact: Complete.
        columns: Names, or expressions by the names that their values get.
        rows: Which are wanted; None: all.
        batch_size: Rows of a batch at most; some batches are read ahead.

    Raises:
        ValueError: a file cannot be read; it is named.
    """
    wanted = dict(columns) if isinstance(columns, Mapping) else list(columns)
    schema = schema_of(artifact.name)
    ahead = {"batch_size": batch_size, "batch_readahead": _AHEAD}
    try:
        # One at a time: footers are large, and what they took, the allocator gives back late.
        for shard in artifact.shards():
            yield from open_parquet([shard], schema).to_batches(
                columns=wanted, filter=rows, **ahead
            )
    except (OSError, pa.ArrowException) as error:
        check_files(artifact)
        raise ValueError(shown(f"{artifact.uri}: {error}")) from error


def names_of(artifact: Artifact, rows: pads.Expression | None = None) -> Iterator[str]:
    """The names of a complete artifact's rows in their order; see `batches_of`."""
    for batch in batches_of(artifact, ["name"], rows):
        yield from batch["name"].to_pylist()


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


def key_ranges(artifact: Artifact) -> list[tuple[str, tuple[str, str] | None]]:
    """Shards of an artifact, each with its first and last key; None: the manifest does not tell."""
    manifest = artifact.manifest()
    files = [] if manifest is None else manifest.get("files", [])
    keys = {file["name"]: file.get("keys") for file in files}
    known = {name: (both[0], both[1]) for name, both in keys.items() if both}
    return [(uri, known.get(uri.rpartition("/")[2])) for uri in artifact.shards()]


class NameIndex:
    """Looks up rows of a complete artifact by name; knows which shards can hold a name.

    A look-up opens the shards that it needs: its cost does not grow with the number of rows where
    names that are asked for together lie together, as those of a block do.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Read the first and the last name of each shard from the manifest."""
        self._schema = schema_of(artifact.name)
        self._uri = artifact.uri
        ranges = key_ranges(artifact)
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
        return collect(lambda: rows, self._uri, columns, within & wanted)

    def shards_between(self, first: str, last: str) -> list[str]:
        """Return the shards that can hold names from the first to the last one."""
        begin = max(0, bisect_right(self._firsts, first) - 1)
        end = bisect_right(self._firsts, last)
        return sorted([*self._anywhere, *(uri for _, _, uri in self._ranges[begin:end])])

    def _shard_of(self, name: str) -> str | None:
        """Return the shard that can hold a name."""
        place = bisect_right(self._firsts, name) - 1
        if place < 0 or name > self._ranges[place][1]:
            return None
        return self._ranges[place][2]


def look_up(artifact: Artifact, names: Collection[str], columns: Sequence[str]) -> pa.Table:
    """Return the rows called `names`, sorted by name; see `NameIndex`, for many look-ups."""
    return NameIndex(artifact).look_up(names, columns)
