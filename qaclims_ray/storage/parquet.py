"""Parquet files on local disk or in cloud storage: read, write, and count by their footers.

All rows are read here, as the columns that we declare. A file's own word for them may be an
extension type whose values Ray unpickles, which runs code of whoever wrote the file.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from typing import TypeAlias

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from qaclims_ray.storage.files import MissingFileError, atomic_open, read_bytes, staged_open
from qaclims_ray.storage.filesystem import arrow_filesystem, in_threads, is_local, patiently
from qaclims_ray.storage.paths import shown

Footer: TypeAlias = pq.FileMetaData
"""Rows, row groups, columns and statistics of a file."""
_CHECKED = pads.ParquetFragmentScanOptions(page_checksum_verification=True)
_FORMAT = pads.ParquetFileFormat(default_fragment_scan_options=_CHECKED)
"""Flipped bytes are an error where a file has checksums, as those of `write_parquet` do."""


def open_parquet(uris: Sequence[str], schema: pa.Schema) -> pads.Dataset:
    """Open Parquet files of one storage as one table (lazy; filters prune row groups).

    Args:
        uris: The files.
        schema: Columns to read and their types, which the files' own are cast to; a column that a
            file lacks is null.
    """
    fs, _ = arrow_filesystem(uris[0]) if uris else (None, "")
    paths = [arrow_filesystem(uri)[1] for uri in uris]
    return pads.dataset(paths, schema=schema, format=_FORMAT, filesystem=fs)


def read_parquet(uri: str, schema: pa.Schema) -> pa.Table:
    """Read one Parquet file; see `open_parquet` and `collect`. A remote one is one request."""
    if is_local(uri):
        return collect(lambda: open_parquet([uri], schema), uri)
    fragment = _FORMAT.make_fragment(pa.BufferReader(read_bytes(uri)))
    return collect(lambda: pads.FileSystemDataset([fragment], schema, _FORMAT), uri)


def read_batches(uri: str, schema: pa.Schema, batch_size: int = 4096) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one Parquet file in their order, some in memory at a time.

    Raises:
        ValueError: the file is damaged, or was lost.
    """
    rows = patiently(lambda: open_parquet([uri], schema), uri)
    try:
        yield from rows.to_batches(batch_size=batch_size, batch_readahead=1)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(shown(f"{uri}: {error}")) from error


def collect(
    rows: Callable[[], pads.Dataset],
    uri: str,
    columns: Sequence[str] | None = None,
    wanted: pads.Expression | None = None,
) -> pa.Table:
    """Read rows of Parquet files, again where storage fails for a moment.

    Args:
        rows: Opens the files.
        uri: What they are, for messages.
        columns: Which are wanted; None: all.
        wanted: Which rows are; None: all.

    Raises:
        MissingFileError: a file is not there.
        ValueError: one is damaged, or storage fails for long.
    """
    names = None if columns is None else list(columns)
    try:
        return patiently(lambda: rows().to_table(columns=names, filter=wanted), uri)
    except FileNotFoundError as error:
        raise MissingFileError(shown(f"{uri}: a file was lost: {error}")) from error


class SortedFile:
    """A Parquet file whose rows are sorted by its first column, a text, to look up some of them."""

    def __init__(self, uri: str, schema: pa.Schema) -> None:
        """Read the footer; see `open_parquet` for the schema."""
        self._schema, self._key = schema, schema.names[0]
        (self._file,) = open_parquet([uri], schema).get_fragments()
        groups = self._file.row_groups
        self._ends: list[str] = [group.statistics[self._key]["max"] for group in groups]

    def look_up(self, keys: Sequence[str]) -> pa.Table:
        """Return the rows of some keys; of row groups that can hold none nothing is read."""
        last = len(self._ends) - 1
        spans = [(bisect_left(self._ends, key), bisect_right(self._ends, key)) for key in keys]
        groups = {group for first, end in spans for group in range(first, min(end, last) + 1)}
        if not groups:
            return self._schema.empty_table()
        some = self._file.subset(row_group_ids=sorted(groups), schema=self._schema)
        wanted = pads.field(self._key).isin(pa.array(keys, pa.string()))
        return some.to_table(schema=self._schema, filter=wanted)


class RowGroups:
    """A Parquet file by its row groups."""

    def __init__(self, uri: str, schema: pa.Schema) -> None:
        """Read the footer; see `open_parquet` for the schema."""
        self._schema = schema
        (self._file,) = open_parquet([uri], schema).get_fragments()

    @property
    def footer(self) -> Footer:
        """What the file says of itself."""
        return self._file.metadata

    def read(self, place: int, columns: Sequence[str]) -> pa.Table:
        """Read some columns of a row group, by its place in the file."""
        some = self._file.subset(row_group_ids=[place], schema=self._schema)
        return some.to_table(schema=self._schema, columns=list(columns))


def write_parquet(table: pa.Table, uri: str, row_group_size: int | None = None) -> None:
    """Write one Parquet file, atomically."""
    with atomic_open(uri, durable=True) as file:
        pq.write_table(table, file, row_group_size=row_group_size, write_page_checksum=True)


def parquet_bytes(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """Return what `write_parquet` writes, for files that are called after their content."""
    buffer = BytesIO()
    pq.write_table(table, buffer, row_group_size=row_group_size, write_page_checksum=True)
    return buffer.getvalue()


def write_tables(tables: Iterable[pa.Table], uri: str, *, checksums: bool = False) -> None:
    """Write tables of equal columns, one at least, as one Parquet file, which appears whole.

    Args:
        tables: Each becomes a row group, or more than one.
        uri: The file.
        checksums: Of pages, as `write_parquet` writes them.
    """
    with ExitStack() as stack:
        file = stack.enter_context(staged_open(uri))
        writer = None
        for table in tables:
            if writer is None:
                writer = stack.enter_context(
                    pq.ParquetWriter(file, table.schema, write_page_checksum=checksums)
                )
            if len(table):  # readers take the size of their batches from the first row group
                writer.write_table(table)


def read_footers(uris: Sequence[str]) -> list[Footer | None]:
    """Read the footers of files of one storage; None for files that are gone or half written."""
    if not uris:
        return []
    fs, _ = arrow_filesystem(uris[0])
    # Not in the threads: each would connect to the storage anew.
    paths = [arrow_filesystem(uri)[1] for uri in uris]

    def read(path: str) -> pq.FileMetaData | None:
        """Read one footer."""
        try:
            return pq.read_metadata(path, filesystem=fs)
        except (FileNotFoundError, pa.ArrowInvalid):
            return None
        except OSError as error:
            if "deserialize thrift" not in str(error):  # not the file's fault, but its storage's
                raise
            return None

    return in_threads(lambda path: patiently(lambda: read(path), path), paths)


def key_range(footer: Footer) -> tuple[str, str] | None:
    """Return the least and the greatest value of the first column; None: unknown."""
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    found = [group.column(0).statistics for group in groups if group.num_rows]
    if not found or any(one is None or not one.has_min_max for one in found):
        return None
    return str(min(one.min for one in found)), str(max(one.max for one in found))


def num_values(footer: Footer, column: str) -> int:
    """Count the values of a column that are not null; elements of a list column (`answers.`)."""
    paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
    wanted = next((i for i, path in enumerate(paths) if path.startswith(column)), None)
    if wanted is None:
        raise ValueError(f"a table of the columns {paths} has no {column!r}: other files lie there")
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    # A row group without rows has no statistics.
    chunks = [group.column(wanted) for group in groups if group.num_rows]
    return sum(chunk.num_values - chunk.statistics.null_count for chunk in chunks)
