"""The tensors of a TorchScript archive, of which no code is run.

OpenAI published CLIP as such archives: programs with their weights. `torch.jit.load` compiles the
program and runs what a module does when its state is set, which can write any file. Here the pickle
of the module tree is read with no names known but those of modules, tensors and lists.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, a program with its weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The weights of a TorchScript archive by their names, on the CPU.

    Raises:
        ValueError: it is damaged, or holds more than modules of tensors and plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            tree = next((name for name in names if name.endswith("/data.pkl")), None)
            if tree is None:
                raise ValueError("it has no data.pkl")
            module = _Unpickler(archive, tree.removesuffix(".pkl"), _stored(archive, tree)).load()
        return dict(_tensors(module, ""))
    except Exception as error:  # a pickle machine fails in any way on bytes that are none
        raise ValueError(
            f"{str(path)!r} is a damaged TorchScript archive, or no plain one; nothing of it was "
            f"run: {error}"
        ) from error


class _Module:
    """A module: nothing but its attributes."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = state


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str, tree: bytes) -> None:
        super().__init__(BytesIO(tree))
        self._archive = archive
        self._folder = folder

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what stands for a name; refuse all but those of modules and tensors."""
        if module_name.partition(".")[0] == "__torch__":
            return _Module
        if module_name == "torch" and global_name in _DTYPES:
            return _DTYPES[global_name]
        if module_name == "torch.jit._pickle" and global_name in _LISTS:
            return list[Any]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module_name, global_name) not in known:
            raise ValueError(f"it asks for {module_name}.{global_name}")
        return known[module_name, global_name]

    def persistent_load(self, pid: Any, /) -> Tensor:
        """Return a storage as a tensor of one axis."""
        _, dtype, key, _, _ = pid
        content = _stored(self._archive, f"{self._folder}/{key}")
        return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0)


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member; one that is packed could be far larger than its file."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _rebuild(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Make a tensor of a storage; torch refuses what lies outside it."""
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
