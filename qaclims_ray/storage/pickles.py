"""Read the dictionaries that NumPy pickled into published `.npy` files, and run nothing of them.

`np.load(allow_pickle=True)` would call any function that a file names. Here NumPy's own names of
arrays, data types and numbers are the only ones known. Even these NumPy takes at their word: an
array that claims more elements than its list holds crashes the process. So claims are checked.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np

from qaclims_ray.storage.files import read_bytes

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_TYPE_CODES = re.compile(r"[biufUSO][1-9]\d*")
"""Numbers, texts and objects, with their size; no structures."""
_MEMOISE = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
"""Operations of a pickle that number a value, and that take it by its number."""
_DEEPEST = 64
"""Tuples within each other; NumPy's files have three."""
_LONGEST = 300
"""Characters of a reason."""


class _Dtype:
    """Reads a `numpy.dtype`: its code and byte order, and no other part of its state."""

    def __init__(self, code: str, *_: bool) -> None:
        if not _TYPE_CODES.fullmatch(code):
            raise ValueError(f"values of type {code!r}")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array(np.ndarray):
    """Reads a `numpy.ndarray` whose content is as long as its shape and type claim."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"an array of shape {shape}")
        holds_objects = dtype.numpy == np.dtype(object)
        length = math.prod(shape) * (1 if holds_objects else dtype.numpy.itemsize)
        if not isinstance(content, list if holds_objects else bytes) or len(content) != length:
            raise ValueError(f"an array of shape {shape} whose content does not fit it")
        super().__setstate__((1, shape, dtype.numpy, is_fortran, content))


def _reconstruct(*_: Any) -> _Array:
    return _Array(0)


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype.numpy)[0]


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): None,  # an argument of _reconstruct, never called
    ("_codecs", "encode"): _encode,  # pickles for Python 2 spell bytes by it
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what stands for a name; refuse all names but NumPy's."""
        # numpy.core.multiarray until NumPy 1, numpy._core.multiarray since.
        short = module_name.removeprefix("numpy.core.").removeprefix("numpy._core.")
        if (short, global_name) not in _KNOWN:
            raise ValueError(
                f"it asks for {module_name}.{global_name}, which plain data never need: it is "
                "another kind of file, or has been tampered with; it was not loaded"
            )
        return _KNOWN[short, global_name]


def _check_bounds(content: bytes) -> None:
    """Walk through a pickle, and make nothing of it.

    The pickle machine takes memory for the highest number that a short file gives to a value, and
    the interpreter ends where it hashes tuples within tuples a thousand times over.

    Raises:
        ValueError: values are not numbered one after the other, or lie too deep.
    """
    stack: list[int | None] = []  # how many tuples lie within each value; None for a mark
    memo: dict[int, int | None] = {}
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _MEMOISE:
            number = len(memo) if argument is None else int(str(argument))
            if number > len(memo):
                raise ValueError(f"value number {number:,} comes after {len(memo):,}")
            memo[number] = stack[-1]
        elif opcode.name in _RECALL:
            stack.append(memo[int(str(argument))])
        else:
            depth = _take(stack, opcode.stack_before) + opcode.name.startswith("TUPLE")
            if depth > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} tuples lie within each other")
            marks = (one is pickletools.markobject for one in opcode.stack_after)
            stack += [None if is_mark else depth for is_mark in marks]


def _take(stack: list[int | None], kinds: Sequence[object]) -> int:
    """Take what an operation takes from the stack; return the greatest depth of it."""
    taken = [0]
    if pickletools.markobject in kinds:
        while (one := stack.pop()) is not None:
            taken.append(one)
        kinds = kinds[: kinds.index(pickletools.markobject)]
    return max([*taken, *(stack.pop() or 0 for _ in kinds)])


def read_dictionary(path: str) -> dict[Any, Any]:
    """Read the one dictionary in a `.npy` file at a path or URL.

    Raises:
        ValueError: there is no such file, it holds something else, or asks for anything but plain
            data.
    """
    stream = io.BytesIO(read_bytes(path))
    try:
        _, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # NumPy parses Python's syntax
        reason = shorten(str(error), _LONGEST)
        raise ValueError(f"{path!r} is no .npy file: {reason}") from error
    if dtype != np.dtype(object):
        raise ValueError(f"{path!r} holds an array of {dtype}, not a pickled dictionary")
    try:
        _check_bounds(stream.getbuffer()[stream.tell() :].tobytes())
        loaded = _Unpickler(stream, encoding="latin1").load()
    except Exception as error:  # a pickle machine fails in any way on bytes that are none
        reason = shorten(str(error), _LONGEST)
        raise ValueError(f"{path!r} cannot be loaded: {reason}") from error
    content = loaded.item() if isinstance(loaded, _Array) and loaded.size == 1 else None
    if not isinstance(content, dict):
        raise ValueError(f"{path!r} is not a dictionary that NumPy saved")
    return content
