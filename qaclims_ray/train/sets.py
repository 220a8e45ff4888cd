"""The images of a training as its workers have them: all on disk, or a part at a time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int

from qaclims_ray.train.buffer import ReadAhead
from qaclims_ray.train.deal import BufferedEpoch, epoch_rows
from qaclims_ray.train.groups import GroupReader, Groups
from qaclims_ray.train.rows import LABELS_AT_ONCE, Row, Rows, labels_of, row_of

Item = int | tuple[int, Row]
"""What a loader process gets for an image: where it finds it, or the row itself."""


class Deal(NamedTuple):
    """What is dealt out to a worker: the rest of an epoch, in batches."""

    seed: int
    epoch: int
    first: int
    """First step that is wanted."""
    num_batches: int
    """Batches of a step, over all workers."""
    images_per_batch: int
    places: Sequence[int]
    """Batches of a step that the worker takes."""
    shares: Float32[np.ndarray, "N"] | None = None
    """See `epoch_rows`."""


class Dealt(NamedTuple):
    """The steps of an epoch."""

    steps: Iterable[Int[np.ndarray, "M B"]]
    """Rows of all batches of each step."""
    batches: Iterable[list[Item]]
    """Items of the worker's batches, one after the other."""


@runtime_checkable
class TrainingSet(Protocol):
    """The images of a training, numbered in the order of their names."""

    class_names: tuple[str, ...]
    """Names of the classes in the order of their indices."""
    buffer_bytes: int | None
    """Size of the buffer that decides the order of an epoch; None: there is none."""

    def __len__(self) -> int: ...

    def labels(self) -> Iterator[pa.Table]:
        """Yield name and labels of all images, some thousand at a time."""
        ...

    def rows(self, numbers: Iterable[int]) -> Iterator[Row]:
        """Yield rows by their numbers, which rise."""
        ...

    def row(self, item: Item) -> tuple[int, Row]:
        """Return number and row of an item, in whichever process."""
        ...

    def deal(self, deal: Deal) -> Dealt:
        """Deal out an epoch."""
        ...


class WholeSet:
    """A set whose rows all lie on the node's disk, within reach of random access."""

    buffer_bytes: int | None = None

    def __init__(self, table: pa.Table, class_names: tuple[str, ...]) -> None:
        """Take the rows of a table; see `open_rows`."""
        self.class_names = class_names
        self._table = table

    def __len__(self) -> int:
        return self._table.num_rows

    def labels(self) -> Iterator[pa.Table]:
        """Yield name and labels of all images, some thousand at a time."""
        for start in range(0, len(self), LABELS_AT_ONCE):
            yield self._table.select(["name", "labels"]).slice(start, LABELS_AT_ONCE)

    def rows(self, numbers: Iterable[int]) -> Iterator[Row]:
        """Yield rows by their numbers."""
        for number in numbers:
            yield row_of(self._table, number)

    def row(self, item: Item) -> tuple[int, Row]:
        """Return the number of a row, which is its item, and the row."""
        assert isinstance(item, int)
        return item, row_of(self._table, item)

    def deal(self, deal: Deal) -> Dealt:
        """Deal out a permutation of all images."""
        rows = epoch_rows(
            len(self),
            seed=deal.seed,
            epoch=deal.epoch,
            num_batches=deal.num_batches,
            images_per_batch=deal.images_per_batch,
            shares=deal.shares,
        )[deal.first :]
        return Dealt(rows, rows[:, deal.places].reshape(-1, deal.images_per_batch).tolist())


class BufferedSet:
    """A set of which the node's disk holds a part at a time, read from storage ahead of its use."""

    def __init__(
        self,
        rows: Rows,
        groups: Groups,
        class_names: tuple[str, ...],
        *,
        buffer_bytes: int,
        folder: str,
    ) -> None:
        """Read from row groups of artifacts.

        Args:
            rows: Of the training.
            groups: Their row groups.
            class_names: Names of the classes in the order of their indices.
            buffer_bytes: What all workers of the training may hold on disk, wherever they are.
            folder: Where they hold it.
        """
        self.class_names = class_names
        self.buffer_bytes: int | None = buffer_bytes
        self._buffer_bytes = buffer_bytes
        self._rows, self._groups, self._folder = rows, groups, folder
        self._reader = GroupReader(rows, groups)
        self._firsts = np.cumsum(groups.counts) - groups.counts

    def __len__(self) -> int:
        return int(self._groups.counts.sum())

    def labels(self) -> Iterator[pa.Table]:
        """Yield name and labels of all images, some thousand at a time."""
        return labels_of(self._rows)

    def rows(self, numbers: Iterable[int]) -> Iterator[Row]:
        """Yield rows by their numbers, which rise; a row group is read once, and held in memory."""

        def group_of(number: int) -> int:
            return int(np.searchsorted(self._firsts, number, "right")) - 1

        for group, own in groupby(numbers, group_of):
            table = self._reader.read(group)
            for number in own:
                yield row_of(table, number - int(self._firsts[group]))

    def row(self, item: Item) -> tuple[int, Row]:
        """Return number and row of an item, which it is."""
        assert not isinstance(item, int)
        return item

    def deal(self, deal: Deal) -> Dealt:
        """Deal out a shuffle of row groups, and of the rows of those that are there at a time.

        Files are opened when the first batch is asked for: processes that are forked before share
        none, which would keep their space.
        """
        assert deal.shares is None
        size = deal.images_per_batch
        num_lanes = deal.num_batches * size
        epoch = BufferedEpoch(
            self._groups.counts,
            self._groups.sizes,
            seed=deal.seed,
            epoch=deal.epoch,
            num_lanes=num_lanes,
            window_bytes=window_bytes(self._buffer_bytes, num_lanes),
        )
        steps = (rows.reshape(deal.num_batches, size) for rows in epoch.rows(deal.first))
        return Dealt(steps, self._batches(epoch, deal))

    def _batches(self, epoch: BufferedEpoch, deal: Deal) -> Iterator[list[Item]]:
        size, own = deal.images_per_batch, sorted(set(deal.places))
        lanes = [place * size + image for place in own for image in range(size)]
        windows = [epoch.windows(lane, deal.first) for lane in lanes]
        ahead = ReadAhead(self._reader.read, self._groups.sizes, windows, self._folder)
        for items in ahead.steps():
            dealt: list[Item] = [*items]
            of_place = {place: dealt[i * size :][:size] for i, place in enumerate(own)}
            yield from (of_place[place] for place in deal.places)


_WINDOWS = 2
"""Windows of each lane on disk: one in use, and one on its way."""


def window_bytes(buffer_bytes: int, num_lanes: int) -> int:
    """Return the size of a window; on one node, all lanes fill the buffer."""
    return buffer_bytes // (_WINDOWS * num_lanes)


def least_buffer(largest: int, num_lanes: int) -> int:
    """Return the size of a buffer whose windows hold the largest row group."""
    return _WINDOWS * num_lanes * largest
