"""Prepare in a thread what a device needs next, while it computes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def ahead(function: Callable[[_In], _Out], items: Iterable[_In], is_on: bool) -> Iterator[_Out]:
    """Map a function over items, one ahead of the one that is in use.

    Args:
        function: Should leave Python's lock alone for most of its time, as Pillow does.
        items: What it is called with, in order.
        is_on: False maps without a thread, as where the device is this very processor.

    Raises:
        Exception: what the function raised, where its result was due.
    """
    if not is_on:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for item in items:
            made, coming = coming, pool.submit(function, item)
            if made is not None:
                yield made.result()
        if coming is not None:
            yield coming.result()
