"""Published `.npy` files that hold a pickled dictionary, read without running what they say.

`np.load(allow_pickle=True)` would call any function that a file names. Here the pickle machine
knows five names only, and all five are the small functions and recorders below: not even NumPy
gets to see what a damaged file says of its arrays.
"""

import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qaclims_ray.storage.inputs import read_bytes

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_TYPES = "fiubUS"
"""Kinds of values that an array may hold: numbers and texts."""


class PickledArray:
    """Stands for an array: an object array keeps its `items`, another one its bytes."""

    items: list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self._shape, self._dtype, is_fortran, content = state
        self._order = "F" if is_fortran else "C"
        self.items = content if isinstance(content, list) else None
        self._raw = content

    def values(self) -> np.ndarray:
        """The numbers or texts in it."""
        return self._dtype.read(self._raw).reshape(self._shape, order=self._order)

    def __iter__(self) -> Iterator[Any]:
        """Its rows."""
        return iter(self.values() if self.items is None else self.items)


class _Dtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, code: str, *_: bool) -> None:
        self._code, self._byte_order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._byte_order = state[1].replace("|", "<")

    def read(self, raw: bytes) -> np.ndarray:
        if self._code[0] not in _TYPES:
            raise ValueError(f"values of type {self._code!r}")
        return np.frombuffer(raw, self._byte_order + self._code)


def _new_array(*_: Any) -> PickledArray:
    """Stands for `numpy.core.multiarray._reconstruct`."""
    return PickledArray()


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    """Stands for `numpy.core.multiarray.scalar`."""
    return dtype.read(raw)[0]


def _encode(text: str, _: str) -> bytes:
    """Stands for `_codecs.encode`, by which pickles for Python 2 spell bytes."""
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("multiarray", "_reconstruct"): _new_array,
    ("multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        # numpy.core.multiarray until NumPy 1, numpy._core.multiarray since.
        short = module_name.removeprefix("numpy.core.").removeprefix("numpy._core.")
        if (short, global_name) not in _KNOWN:
            raise ValueError(
                f"it asks for {module_name}.{global_name}, which plain data never need: it is "
                "another kind of file, or has been tampered with; it was not loaded"
            )
        return _KNOWN[short, global_name]


def read_dictionary(path: str) -> dict[Any, Any]:
    """The dictionary in a file, a path or URL; arrays below it are `PickledArray`s.

    Raises:
        ValueError: no such file, no such content, or it asks for anything but plain data.
    """
    stream = io.BytesIO(read_bytes(path))
    _skip_header(stream, path)
    try:
        loaded = _Unpickler(stream).load()
    except Exception as error:  # a pickle machine fails in any way on bytes that are none
        raise ValueError(f"{path!r} cannot be loaded: {error}") from error
    items = loaded.items if isinstance(loaded, PickledArray) else None
    if items is None or len(items) != 1 or not isinstance(items[0], dict):
        raise ValueError(f"{path!r} is not a dictionary that NumPy saved")
    return items[0]


def _skip_header(stream: io.BytesIO, path: str) -> None:
    try:
        version = np.lib.format.read_magic(stream)
        _, _, dtype = _HEADERS[version](stream)
    except Exception as error:  # it parses Python's syntax
        raise ValueError(f"{path!r} is no .npy file: {error}") from error
    if dtype != np.dtype(object):
        raise ValueError(f"{path!r} holds an array of {dtype}, not a pickled dictionary")
