"""Read the published `cls_labels.npy`, a pickled dict, without running what a pickle may contain.

`np.load(allow_pickle=True)` would call any function that the file names. Here the pickle machine
knows five names only, and all five are the small functions and recorders below.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from qaclims_ray.data.files import read_bytes


def read_cls_labels(path: str, num_classes: int) -> dict[str, list[int]]:
    """Class indices of each image name.

    Names that the file keeps as numbers (irn: 2007000032) become `2007_000032`.

    Args:
        path: path or URL of a NumPy file that holds one dict: name to `num_classes` floats.
        num_classes: expected length of each array.

    Raises:
        ValueError: no such file, or anything else in it.
    """
    content = read_bytes(path)
    try:
        stream = io.BytesIO(content)
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        (table,) = _Unpickler(stream).load().items
        labels = {_name(key): np.flatnonzero(array.values()) for key, array in table.items()}
        lengths = {len(array.values()) for array in table.values()}
    except Exception as error:  # a pickle machine fails in any way on bytes that are none
        raise ValueError(f"{path}: not a dict of names to arrays of labels: {error}") from error
    if lengths - {num_classes}:
        raise ValueError(f"{path}: arrays of {sorted(lengths)} labels, expected {num_classes}")
    return {name: indices.tolist() for name, indices in labels.items()}


class _Dtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, code: str, *_: bool) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1].replace("|", "<")

    def read(self, raw: bytes) -> Any:
        if self.code[0] not in "fiub":
            raise ValueError(f"values of type {self.code!r}")
        return np.frombuffer(raw, self.order + self.code)


class _Array:
    """Stands for an array: an object array keeps `items`, a numeric one its bytes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, _, content = state
        self.items = content if isinstance(content, list) else None
        self.raw = content

    def values(self) -> Any:
        return self.dtype.read(self.raw)


def _new_array(*_: Any) -> _Array:
    """Stands for `numpy.core.multiarray._reconstruct`."""
    return _Array()


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
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")

    def find_class(self, module_name: str, global_name: str) -> Any:
        # numpy.core.multiarray until NumPy 1, numpy._core.multiarray since.
        short = module_name.removeprefix("numpy.core.").removeprefix("numpy._core.")
        if (short, global_name) not in _KNOWN:
            raise ValueError(f"the file asks for {module_name}.{global_name}; nothing is run")
        return _KNOWN[short, global_name]


def _name(key: Any) -> str:
    digits = str(key)
    return digits if isinstance(key, str) else f"{digits[:4]}_{digits[4:]}"
