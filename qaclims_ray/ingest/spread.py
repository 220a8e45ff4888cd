"""Least, median and greatest of numbers that come bit by bit; different values alone are kept."""

import numpy as np
from jaxtyping import Int

_MANY = 2**17
"""Values that are collected before they are counted."""


class Spread:
    """Counts how often each value came."""

    def __init__(self) -> None:
        self._values = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._new: list[Int[np.ndarray, "values"]] = []
        self._num_new = 0

    def add(self, values: Int[np.ndarray, "values"]) -> None:
        """Count some values."""
        self._new.append(values)
        self._num_new += len(values)
        if self._num_new >= max(_MANY, len(self._values)):
            self._count()

    def __call__(self) -> tuple[int, int, int]:
        """Least, median (of an even number the mean of the middle two, cut) and greatest."""
        self._count()
        if not len(self._values):
            return (0, 0, 0)
        ends = np.cumsum(self._counts)
        middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], "right")
        low, high = self._values[middle].tolist()
        return int(self._values[0]), (low + high) // 2, int(self._values[-1])

    def _count(self) -> None:
        ones = np.ones(self._num_new, np.int64)
        values, where = np.unique(np.concatenate([self._values, *self._new]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, where, np.concatenate([self._counts, ones]))
        self._values, self._counts, self._new, self._num_new = values, counts, [], 0
