"""The row groups of `images` that a training learns from, and how large they are."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.graph import schema_of
from qaclims_ray.storage.filesystem import in_threads, patiently
from qaclims_ray.storage.parquet import Footer, RowGroups, collect, open_parquet, read_footers
from qaclims_ray.storage.paths import shown
from qaclims_ray.train.rows import IMAGE_COLUMNS, Joiner, Rows, Source

_VALUE_BYTES, _GROUP_BYTES = 16, 8192
"""What Arrow takes at most beside the bytes of Parquet's values: for a value its number, offset and
length; for a row group its schema, and its columns' ends at multiples of 64 bytes."""


class Groups(NamedTuple):
    """Row groups with a row that is learnt from, in the order of their rows."""

    files: Sequence[str]
    """Shards of `images`."""
    shards: Int[np.ndarray, "groups"]
    """Shard of each, a place in `files`."""
    places: Int[np.ndarray, "groups"]
    """Place of each in its shard."""
    counts: Int[np.ndarray, "groups"]
    """Rows of each that are learnt from."""
    sizes: Int[np.ndarray, "groups"]
    """Bytes of these rows on local disk, at most, with what other artifacts add."""
    stored: Int[np.ndarray, "groups"]
    """Bytes of all rows without what others add: a row group of another size has changed."""


class Survey(NamedTuple):
    """What is known of the rows of a training before it starts."""

    groups: Groups
    num_bytes: int
    """Bytes of all rows on local disk, at most."""
    num_labels: int
    """Labels of all images together."""
    num_sizes: int
    """Different sizes of images in pixels, counted up to 2."""

    @property
    def num_images(self) -> int:
        """Number of images."""
        return int(self.groups.counts.sum())


class _Part(NamedTuple):
    """What a shard holds."""

    groups: Int[np.ndarray, "groups 4"]
    """Place, counts, sizes and stored, as in `Groups`."""
    num_labels: int
    image_sizes: Collection[tuple[int, int]]
    """Two of them at most."""


def survey(rows: Rows) -> Survey:
    """Look what a training learns from, shard by shard; no image is read."""
    files, joiner = rows.images.shards(), Joiner(rows)
    spans = [_Span(source) for source in rows.beside if source.columns]
    parts = in_threads(partial(_survey_shard, joiner=joiner, spans=spans), files)
    table = np.concatenate([np.zeros((0, 4), np.int64), *(part.groups for part in parts)])
    shards = np.repeat(np.arange(len(files)), [len(part.groups) for part in parts])
    is_kept = table[:, 1] > 0
    groups = Groups(files, shards[is_kept], *table[is_kept].T)
    return Survey(
        groups=groups,
        num_bytes=int(groups.stored.sum()) + sum(span.num_bytes for span in spans),
        num_labels=sum(part.num_labels for part in parts),
        num_sizes=min(2, len({size for part in parts for size in part.image_sizes})),
    )


def _survey_shard(uri: str, joiner: Joiner, spans: Sequence["_Span"]) -> _Part:
    (footer,) = read_footers([uri])
    if footer is None:
        raise ValueError(shown(f"{uri} was lost, or is damaged"))
    columns = ["name", "labels", "height", "width"]
    table = collect(lambda: open_parquet([uri], schema_of("images")), uri, columns)
    names: list[str] = table["name"].to_pylist()
    kept = joiner.kept(table.append_column("row", pa.array(range(len(table)), pa.int64())))
    ends = list(accumulate(footer.row_group(i).num_rows for i in range(footer.num_row_groups)))
    counts = np.bincount(
        np.searchsorted(ends, kept["row"].to_numpy(), "right"), minlength=len(ends)
    )
    stored = group_bytes(footer, IMAGE_COLUMNS)
    added = [
        sum(span.between(names[begin], names[end - 1]) for span in spans) if begin < end else 0
        for begin, end in pairwise([0, *ends])
    ]
    sizes = zip(kept["height"].to_pylist(), kept["width"].to_pylist(), strict=True)
    return _Part(
        groups=np.stack([np.arange(len(ends)), counts, np.add(stored, added), stored], axis=1),
        num_labels=sum(map(len, kept["labels"].to_pylist())),
        image_sizes=list(dict.fromkeys(sizes))[:2],
    )


class _Span:
    """How many bytes another artifact adds to the images between two names."""

    def __init__(self, source: Source) -> None:
        """Read the footers of its shards."""
        found: list[tuple[str, str, int]] = []
        for uri, footer in zip(
            source.artifact.shards(), read_footers(source.artifact.shards()), strict=True
        ):
            if footer is None:
                raise ValueError(shown(f"{uri} was lost, or is damaged"))
            for place, size in enumerate(group_bytes(footer, source.columns)):
                names = footer.row_group(place).column(0).statistics
                if footer.row_group(place).num_rows:
                    found.append((names.min, names.max, size))
        found.sort()
        self._firsts = [first for first, _, _ in found]
        self._lasts = [last for _, last, _ in found]
        self._before = list(accumulate((size for _, _, size in found), initial=0))
        self.num_bytes = self._before[-1]

    def between(self, first: str, last: str) -> int:
        """Return the bytes of all row groups that can hold a name from the first to the last."""
        begin, end = bisect_left(self._lasts, first), bisect_right(self._firsts, last)
        return self._before[max(begin, end)] - self._before[begin]


def group_bytes(footer: Footer, columns: Collection[str]) -> list[int]:
    """Return what columns of each row group of a file take as an Arrow stream, at most."""
    sizes: list[int] = []
    for place in range(footer.num_row_groups):
        group = footer.row_group(place)
        chunks = [group.column(i) for i in range(group.num_columns)]
        wanted = [one for one in chunks if one.path_in_schema.partition(".")[0] in columns]
        values = sum(one.total_uncompressed_size + _VALUE_BYTES * one.num_values for one in wanted)
        sizes.append(values + _GROUP_BYTES)
    return sizes


def image_bytes(images: Artifact) -> Int[np.ndarray, "groups"]:
    """Return the bytes of each row group of `images` on local disk, at most, with all its rows."""
    footers = read_footers(images.shards())
    sizes = [group_bytes(footer, IMAGE_COLUMNS) for footer in footers if footer is not None]
    return np.concatenate([np.zeros(0, np.int64), *map(np.array, sizes)])


class GroupReader:
    """Reads row groups, with what other artifacts add."""

    def __init__(self, rows: Rows, groups: Groups) -> None:
        """Take the row groups as they were when the training began."""
        self._joiner, self._groups = Joiner(rows), groups

    def read(self, number: int) -> pa.Table:
        """Read the rows of a row group that are learnt from, by its number in `Groups`.

        Raises:
            ValueError: a file was lost, or has changed since the training began; it is named.
        """
        groups, place = self._groups, int(self._groups.places[number])
        uri = groups.files[int(groups.shards[number])]

        def read() -> tuple[list[int], pa.Table | None]:
            file = RowGroups(uri, schema_of("images"))
            sizes = group_bytes(file.footer, IMAGE_COLUMNS)
            return sizes, file.read(place, IMAGE_COLUMNS) if place < len(sizes) else None

        try:
            sizes, table = patiently(read, uri)
            if table is None or sizes[place] != groups.stored[number]:
                raise ValueError(shown(f"{uri} has changed while a training read it{_AGAIN}"))
            joined = self._joiner.join(table)
        except FileNotFoundError as error:
            lost = shown(f"{error}")
            raise ValueError(f"{lost}: lost while a training read it{_AGAIN}") from None
        if len(joined) != groups.counts[number]:
            raise ValueError(
                shown(
                    f"{uri}: {len(joined)} of {groups.counts[number]} images of a row group have a "
                    "row in all that the training reads: one of these has changed meanwhile"
                    f"{_AGAIN}"
                )
            )
        return joined


_AGAIN = (
    ": restore it from a copy, and the same command goes on from the last checkpoint; or train "
    "anew (--overwrite)"
)
