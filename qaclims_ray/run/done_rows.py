"""Which rows of a map's input are done already: looked up in the blocks that can hold them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from qaclims_ray.storage.parquet import collect, open_parquet


class DoneRows:
    """Drops rows that blocks hold; of these, some are looked at for each table of rows.

    The input is sorted, and a block's rows lie together in it: so few of them can hold a given row.
    """

    def __init__(self, key: str, blocks: Mapping[str, tuple[str, str] | None]) -> None:
        """Take blocks' files and their least and greatest key; None: not known."""
        self._schema = pa.schema([(key, pa.string())])
        self._anywhere = [uri for uri, keys in blocks.items() if keys is None]
        self._ranges = sorted((*keys, uri) for uri, keys in blocks.items() if keys is not None)
        self._least = [least for least, _, _ in self._ranges]
        self._reached = list(accumulate((greatest for _, greatest, _ in self._ranges), max))

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows that no block holds, if there are any."""
        (key,) = self._schema.names
        keys, blocks = rows[key], list(self._anywhere)
        if len(keys):
            least, greatest = (pc.call_function(which, [keys]).as_py() for which in ("min", "max"))
            begin, end = bisect_left(self._reached, least), bisect_right(self._least, greatest)
            blocks += [uri for _, last, uri in self._ranges[begin:end] if last >= least]
        found = collect(lambda: open_parquet(blocks, self._schema), "finished rows")
        done = pc.SetLookupOptions(found.column(0))
        missing = pc.call_function("invert", [pc.call_function("is_in", [keys], done)])
        rows = rows.filter(missing)
        if len(rows):
            yield rows
