"""Sources of a data set in the order of their names, on this machine's disk."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias, cast

import pyarrow as pa

from qaclims_ray.ingest.sources import Source, check_texts, taken
from qaclims_ray.storage.errors import Failures, attempt
from qaclims_ray.storage.sorting import RowSorter, as_bytes, as_text

_TEXTS = ("name", "image", "mask", "annotations")
_ROWS = pa.schema(
    [
        *((name, pa.binary()) for name in _TEXTS),
        ("labels", pa.list_(pa.int32())),
        ("position", pa.int64()),
    ]
)

_Placed: TypeAlias = tuple[Source, int]
"""A source and its position, from 1."""


class SortedSources(Collection[Source]):
    """The first source of each name; some are in memory at a time, however often one asks."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """Sort sources; what `first_of_each_name` and `check_texts` object to is in `errors`."""
        self._rows = RowSorter(_ROWS, ["name", "position"])
        self._rows.add(_row(*both) for both in enumerate(sources, start=1))
        self._num = 0
        repeated, unwritable = list[tuple[int, str, str]](), list[tuple[int, str, str]]()
        for (first, position), others in self._named():
            repeated += ((place, *taken(other, place, first)) for other, place in others)
            checked = attempt(check_texts, first)
            if isinstance(checked, ValueError):
                unwritable.append((position, first["image"], str(checked)))
            else:
                self._num += 1
        found = [*sorted(repeated), *sorted(unwritable)]
        self.errors: Failures = [(name, reason) for _, name, reason in found]

    def __len__(self) -> int:
        return self._num

    def __contains__(self, source: object) -> bool:
        return any(one == source for one in self)

    def __iter__(self) -> Iterator[Source]:
        for (first, _), _ in self._named():
            if not isinstance(attempt(check_texts, first), ValueError):
                yield first

    def _named(self) -> Iterator[tuple[_Placed, list[_Placed]]]:
        """The first source of each name, and the others."""
        for _, rows in groupby(self._rows, itemgetter("name")):
            first, *others = ((_source(row), int(row["position"])) for row in rows)
            yield first, others


def _row(position: int, source: Source) -> dict[str, Any]:
    texts = {name: None if (text := source[name]) is None else as_bytes(text) for name in _TEXTS}
    return {**texts, "labels": source["labels"], "position": position}


def _source(row: Mapping[str, Any]) -> Source:
    texts = {name: None if (text := row[name]) is None else as_text(text) for name in _TEXTS}
    return cast(Source, {**texts, "labels": row["labels"]})
