"""Read files and folders by local path or fsspec URL (`s3://…`, `gs://…`, `https://…`).

A file within an uncompressed tar has a path too, `<tar>#<name>:<offset>+<size>` (see `member`), and
is read by its range of bytes.
"""

import errno
import os
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import exists, filesystem, patiently

WEB = ("http://", "https://")
"""Servers that hand out files and list no folders."""

Range = tuple[int, int]
"""Offset and size of a part of a file, in bytes."""

Stream: TypeAlias = Any
"""Binary file, local or fsspec's, whose class has no types."""

_NO_FILE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG)
_MEMBER = re.compile(r"(.+)#(.*):(\d+)\+(\d+)", re.DOTALL)
_THREADS = 16
_T = TypeVar("_T")


def join(root: str, *parts: str) -> str:
    """The path below a folder, local or remote."""
    return "/".join([root.rstrip("/"), *parts])


def locate(root: str, path: str) -> str:
    """A path below a folder; a whole URL or absolute path as it is."""
    return path if "://" in path or path.startswith("/") else join(root, path)


def member(tar: str, name: str, offset: int, size: int) -> str:
    """Path of a file within a tar whose content lies at `offset`; the name is for people."""
    return f"{tar}#{name}:{offset}+{size}"


def check_inside(relative: str) -> str:
    """The same path, once it is sure that it stays below its folder.

    Raises:
        ValueError: it is absolute, or has a part that is empty, `.` or `..`, or a backslash.
    """
    parts = relative.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in relative or "\0" in relative:
        raise ValueError(f"{relative!r} is not a path below its folder")
    return relative


def check_text(text: str) -> str:
    """The same name, address or label, once it is sure that a table can hold it.

    Raises:
        ValueError: it is no UTF-8: a name in another encoding, or half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} is not UTF-8 text, as tables hold it: rename it") from error
    return text


def read_bytes(path: str) -> bytes:
    """Content of a file.

    Raises:
        ValueError: there is no such file, it may not be read, or its server fails for long.
    """
    within = _MEMBER.fullmatch(path)
    if within and not os.path.exists(path):
        tar, _, offset, size = within.groups()
        return read_ranges(tar, [(int(offset), int(size))])[0]
    return _explain(path, _read_remote if "://" in path else _read_local)


def read_ranges(path: str, ranges: Sequence[Range]) -> list[bytes]:
    """Parts of a file; of a remote file several at a time.

    Raises:
        ValueError: as `read_bytes`; the file ends before a part does; or its server does not
            hand out parts.
    """
    read = _read_remote_ranges if "://" in path else _read_local_ranges
    parts = _explain(path, lambda path: read(path, ranges))
    for part, (offset, size) in zip(parts, ranges, strict=True):
        if len(part) < size:
            raise ValueError(f"{path}: cut off, bytes {offset:,} to {offset + size:,} are missing")
        if len(part) > size:
            raise ValueError(
                f"{path}: its server does not hand out parts of files (range requests); copy the "
                "file to disk or to a store such as s3://"
            )
    return parts


@contextmanager
def open_stream(path: str) -> Generator[Stream]:
    """Open a file to read it bit by bit.

    Raises:
        ValueError: as `read_bytes`.
    """
    with _explain(path, _open_remote if "://" in path else _open_local) as file:
        yield file


def read_text(path: str, content: str) -> str:
    """Text of a UTF-8 file; `content` says in the error message what is expected in it."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; expected {content}") from error
    except ValueError as error:
        raise ValueError(f"{error}; expected {content}") from error


def read_all(paths: Iterable[str]) -> list[bytes | ValueError]:
    """Contents of many small files, in order; the error in place of what cannot be read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda path: attempt(read_bytes, path), paths))


def walk(folder: str) -> list[str]:
    """Paths of all files below a folder, relative to it, sorted; hidden ones are left out.

    Links to local folders are followed, but for those that lead back to a folder above them. A
    folder that does not exist has no files.
    """
    fs, root = filesystem(folder)
    local = isinstance(fs, LocalFileSystem)
    try:
        return sorted(patiently(lambda: _walk(root) if local else _find(fs, root), folder))
    except FileNotFoundError:
        return []


def _walk(folder: str, above: tuple[str, ...] = ()) -> list[str]:
    """Files below a local folder; none if it is one of those `above`, given by their real paths."""
    real = os.path.realpath(folder)
    if real in above:
        return []
    files: list[str] = []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            files += (f"{name}/{file}" for file in _walk(path, (*above, real)))
        else:
            files.append(name)
    return files


def _find(fs: AbstractFileSystem, root: str) -> list[str]:
    """Files below a remote folder."""
    root = root.rstrip("/") + "/"
    below = (path.removeprefix(root) for path in fs.find(root))
    return [path for path in below if not any(part.startswith(".") for part in path.split("/"))]


def find_all(pattern: str) -> list[str]:
    """Paths of the files that match a pattern with `*`, `?` or `[…]`, sorted.

    As in `walk`, links to local folders are followed.
    """
    fs, inner = filesystem(pattern)
    if isinstance(fs, LocalFileSystem):
        found = sorted(glob(inner, recursive=True))
    else:
        found = sorted(str(path) for path in patiently(lambda: fs.glob(inner), pattern))
    return [fs.unstrip_protocol(path) for path in found] if "://" in pattern else found


def present(paths: Sequence[str]) -> set[str]:
    """Those of many paths at which there is a file.

    Folders are listed once each; a web server, which lists none, is asked for each file.
    """
    web = [path for path in paths if path.startswith(WEB)]
    folders = {path.rpartition("/")[0] for path in paths if not path.startswith(WEB)}
    listed = {join(folder, file) for folder in folders for file in walk(folder)}
    with ThreadPoolExecutor(_THREADS) as pool:
        answers = list(pool.map(exists, web))
    asked = {url for url, is_there in zip(web, answers, strict=True) if is_there}
    return listed.intersection(paths) | asked


def _explain(path: str, read: Callable[[str], _T]) -> _T:
    """What a reader gives of a path; ValueError where there is no file, or none to be read."""
    try:
        return read(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _NO_FILE:
            raise ValueError(f"{path}: {error.strerror or 'file not found'}") from error
        raise


def _read_remote(url: str) -> bytes:
    fs: Any
    fs, inner = filesystem(url)
    return patiently(lambda: fs.cat_file(inner), url)


def _read_local(path: str) -> bytes:
    _check_is_file(path)
    return Path(path).read_bytes()


def _open_remote(url: str) -> Stream:
    fs, inner = filesystem(url)
    return patiently(lambda: fs.open(inner, "rb"), url)


def _open_local(path: str) -> Stream:
    _check_is_file(path)
    return open(path, "rb")


def _read_remote_ranges(url: str, ranges: Sequence[Range]) -> list[bytes]:
    fs, inner = filesystem(url)
    starts = [offset for offset, _ in ranges]
    ends = [offset + size for offset, size in ranges]
    inners = [inner] * len(ranges)
    return patiently(lambda: fs.cat_ranges(inners, starts, ends, on_error="raise"), url)


def _read_local_ranges(path: str, ranges: Sequence[Range]) -> list[bytes]:
    _check_is_file(path)
    parts: list[bytes] = []
    with open(path, "rb") as file:
        for offset, size in ranges:
            file.seek(offset)
            parts.append(file.read(size))
    return parts


def _check_is_file(path: str) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path}: not a file")  # reading a pipe or device might never end
