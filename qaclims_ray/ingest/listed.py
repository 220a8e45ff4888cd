"""The sources of a data set as sorted shards: no process holds all while they are loaded."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, zip_longest

import pyarrow as pa
import pyarrow.compute as pc

from qaclims_ray.ingest.sources import Source
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import PendingBlocks
from qaclims_ray.storage.files import remove
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import read_parquet, write_parquet

SOURCE = pa.schema(
    [
        ("name", pa.string()),
        ("image", pa.string()),
        ("labels", pa.list_(pa.int32())),
        ("mask", pa.string()),
        ("annotations", pa.string()),
    ]
)
_ROWS = 2**14
"""Sources of a shard."""


class ListedSources:
    """Sources in the order of their names, in files beside the unfinished work."""

    def __init__(
        self, target: Artifact, sources: Collection[Source], limit: int | None = None
    ) -> None:
        """Write the sources; drop rows that were loaded from other ones.

        Args:
            target: Artifact under way.
            sources: As in `Listing`; gone through twice where there is an earlier listing.
            limit: Take so many, the first by name; None: all.
        """
        if isinstance(sources, list):
            sources = sorted(sources, key=lambda source: source["name"])
        self.num_sources = len(sources) if limit is None else min(limit, len(sources))
        self._work = PendingBlocks(target)
        self._folder = self._work.listing.rpartition("/")[0]
        self.shards = find(f"{self._folder}/*.parquet")
        if self.shards:
            if self._hold(islice(sources, limit)):
                return
            remove(self._work.rows)
            remove(self._folder)
        parts = enumerate(_parts(islice(sources, limit)))
        self.shards = [self._write(*part) for part in parts]

    def _hold(self, sources: Iterable[Source]) -> bool:
        """Tell whether the files hold these sources, read up to the first difference."""
        parts = zip_longest(self.shards, _parts(sources))
        return all(
            uri == self._uri(number) and part is not None and _holds(uri, part)
            for number, (uri, part) in enumerate(parts)
        )

    def _write(self, number: int, part: Sequence[Source]) -> str:
        write_parquet(_table(part), uri := self._uri(number))
        return uri

    def _uri(self, number: int) -> str:
        return f"{self._folder}/part-{number:05d}.parquet"

    def paths(self) -> Iterator[dict[str, str]]:
        """Paths of the images by their names, those of one shard after the other."""
        for table in self._tables():
            yield dict(zip(table["name"].to_pylist(), table["image"].to_pylist(), strict=True))

    def masked(self) -> Iterator[Source]:
        """Those that should have a mask."""
        for table in self._tables():
            has_mask = pc.field("mask").is_valid() | pc.field("annotations").is_valid()
            yield from table.filter(has_mask).to_pylist()

    def _tables(self) -> Iterator[pa.Table]:
        return (read_parquet(uri, SOURCE) for uri in self.shards)


def _parts(sources: Iterable[Source]) -> Iterator[list[Source]]:
    remaining = iter(sources)
    while part := list(islice(remaining, _ROWS)):
        yield part


def _holds(uri: str, sources: Sequence[Source]) -> bool:
    return read_parquet(uri, SOURCE).equals(_table(sources))


def _table(sources: Sequence[Source]) -> pa.Table:
    return pa.Table.from_pylist(list(sources), schema=SOURCE)
