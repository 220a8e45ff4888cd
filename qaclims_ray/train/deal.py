"""Deal out images: which come in which batch of an epoch, and which batches a worker takes.

Everything derives from the seed and the epoch, whoever takes the batches. Where a node's disk holds
all images an epoch is a permutation of them. Where it does not, it is a shuffle of row groups, and
of the rows of those that are there at a time: see `BufferedEpoch`.
"""

from collections.abc import Iterator
from itertools import chain, count
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int


def steps_per_epoch(num_images: int, num_batches: int, images_per_batch: int) -> int:
    """Count the whole steps of `num_batches` batches; the images left wait for another epoch."""
    return num_images // (num_batches * images_per_batch)


def epoch_rows(
    num_images: int,
    *,
    seed: int,
    epoch: int,
    num_batches: int,
    images_per_batch: int,
    shares: Float32[np.ndarray, "N"] | None = None,
) -> Int[np.ndarray, "steps M B"]:
    """Deal out a permutation of all images: rows of each of the M batches of each step.

    With `shares` of the images, which need not sum to 1, each comes as often as it is due, rounded
    up or down, and an epoch is as long as without them.
    """
    steps = steps_per_epoch(num_images, num_batches, images_per_batch)
    rng = np.random.default_rng([seed, epoch])
    drawn = np.arange(num_images)
    if shares is not None:
        due = np.cumsum(shares, dtype=np.float64) / np.sum(shares, dtype=np.float64)
        drawn = np.searchsorted(due[:-1], (drawn + rng.random()) / num_images, side="right")
    order = rng.permutation(drawn)
    kept = order[: steps * num_batches * images_per_batch]
    return kept.reshape(steps, num_batches, images_per_batch)


def shard(num_batches: int, rank: int, world_size: int) -> tuple[list[int], list[float]]:
    """Choose which of a step's batches a worker takes, and with which weights.

    The gradient, averaged over workers, is the mean of those of all batches. Every worker takes
    equally many, as they run the same collectives: where their number does not divide that of the
    batches, some take their first one again, with weight 0.
    """
    rounds = -(-num_batches // world_size)
    places = [rank + turn * world_size for turn in range(rounds)]
    weights = [world_size / num_batches if place < num_batches else 0.0 for place in places]
    return [place if place < num_batches else rank for place in places], weights


class Window(NamedTuple):
    """What one lane has in the buffer at a time."""

    groups: Int[np.ndarray, "n"]
    """Row groups, in the order in which a step first needs them."""
    first_steps: Int[np.ndarray, "n"]
    """Step of the epoch that first needs each of them."""
    rows: Int[np.ndarray, "steps"]
    """Rows of the set, one for each step."""
    owners: Int[np.ndarray, "steps"]
    """Place in `groups` of the row group of each row."""
    offsets: Int[np.ndarray, "steps"]
    """Place of each row in its row group."""


class BufferedEpoch:
    """One epoch of a set that is larger than the buffer.

    Image i of each step comes from lane i. The row groups are shuffled, and what follows from it is
    cut into as many lanes of equally many rows. A lane is cut into windows, runs of row groups that
    fit into its share of the buffer, and the rows of a window are shuffled. So the images of a step
    come from row groups far apart, each comes once, and a worker reads the lanes of its own batches
    alone. What is left, less than a step, waits for another epoch.
    """

    def __init__(
        self,
        counts: Int[np.ndarray, "groups"],
        sizes: Int[np.ndarray, "groups"],
        *,
        seed: int,
        epoch: int,
        num_lanes: int,
        window_bytes: int,
    ) -> None:
        """Shuffle the row groups of a set.

        Args:
            counts: Rows of each, at least 1.
            sizes: Bytes of each, at most `window_bytes`.
            seed: Seed of all epochs.
            epoch: Number of the epoch.
            num_lanes: Images of a step.
            window_bytes: Bytes of a window.
        """
        assert sizes.max() <= window_bytes
        self._seeds = seed, epoch
        self._order = np.random.default_rng(self._seeds).permutation(len(counts))
        self._counts = counts[self._order]
        self._ends = np.cumsum(self._counts)
        self._bytes = np.cumsum(sizes[self._order])
        self._firsts = (np.cumsum(counts) - counts)[self._order]
        self._window_bytes = window_bytes
        self.num_lanes = num_lanes
        self.steps = int(self._ends[-1]) // num_lanes

    def rows(self, first: int = 0) -> Iterator[Int[np.ndarray, "lanes"]]:
        """Yield the rows of each step, from the step `first` on."""
        windows = [self.windows(lane, first) for lane in range(self.num_lanes)]
        lanes = [chain.from_iterable(one.rows.tolist() for one in lane) for lane in windows]
        yield from map(np.array, zip(*lanes, strict=True))

    def windows(self, lane: int, first: int = 0) -> Iterator[Window]:
        """Yield the windows of a lane, from the step `first` on."""
        begin, end = lane * self.steps, (lane + 1) * self.steps
        group = int(np.searchsorted(self._ends, begin, "right"))
        for number in count(1):
            if begin >= end:
                return
            before = self._bytes[group - 1] if group else 0
            after = int(np.searchsorted(self._bytes, before + self._window_bytes, "right"))
            until, step = min(end, int(self._ends[after - 1])), begin - lane * self.steps
            if step + until - begin > first:
                rng = np.random.default_rng((*self._seeds, lane + 1, number))
                yield self._window(rng.permutation(np.arange(begin, until)), step, first)
            begin, group = until, after

    def _window(self, places: Int[np.ndarray, "rows"], step: int, first: int) -> Window:
        """Make a window of places in the epoch's sequence; rows before the step `first` are past.

        Args:
            places: In the order of the steps.
            step: First step of the window.
            first: First step that is wanted.
        """
        places, step = places[max(0, first - step) :], max(step, first)
        group = np.searchsorted(self._ends, places, "right")
        offsets = places - (self._ends - self._counts)[group]
        groups, needed, owners = np.unique(group, return_index=True, return_inverse=True)
        order = np.argsort(needed)
        return Window(
            groups=self._order[groups[order]],
            first_steps=step + needed[order],
            rows=self._firsts[group] + offsets,
            owners=np.argsort(order)[owners],
            offsets=offsets,
        )
