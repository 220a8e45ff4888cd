"""The sources of a data set as sorted shards: no process holds all while they are loaded."""

from collections.abc import Iterator, Sequence

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

    def __init__(self, target: Artifact, sources: Sequence[Source]) -> None:
        """Write the sources; drop rows that were loaded from other ones.

        Args:
            target: Artifact under way.
            sources: Sorted by name.
        """
        self._work = PendingBlocks(target)
        folder = self._work.listing.rpartition("/")[0]
        starts = range(0, len(sources), _ROWS)
        self.shards = [f"{folder}/part-{number:05d}.parquet" for number in range(len(starts))]
        parts = [sources[start : start + _ROWS] for start in starts]
        before = find(f"{folder}/*.parquet")
        if before == self.shards and all(map(_holds, self.shards, parts)):
            return
        if before:
            remove(self._work.rows)
            remove(folder)
        for uri, part in zip(self.shards, parts, strict=True):
            write_parquet(_table(part), uri)

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


def _holds(uri: str, sources: Sequence[Source]) -> bool:
    return read_parquet(uri, SOURCE).equals(_table(sources))


def _table(sources: Sequence[Source]) -> pa.Table:
    return pa.Table.from_pylist(list(sources), schema=SOURCE)
