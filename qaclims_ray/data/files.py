"""Read files and folders by local path or fsspec URL (`s3://…`, `gs://…`, `https://…`)."""

import errno
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fsspec.core import url_to_fs

from qaclims_ray.data.errors import attempt

_NO_FILE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG)


def join(root: str, *parts: str) -> str:
    """The path below a folder, local or remote."""
    return "/".join([root.rstrip("/"), *parts])


def check_inside(relative: str) -> str:
    """The same path, once it is sure that it stays below its folder.

    Raises:
        ValueError: it is absolute, or has a part that is empty, `.` or `..`, or a backslash.
    """
    parts = relative.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in relative or "\0" in relative:
        raise ValueError(f"{relative!r} is not a path below its folder")
    return relative


def read_bytes(path: str) -> bytes:
    """Content of a file.

    Raises:
        ValueError: there is no such file, or it may not be read. Other failures, such as a lost
            connection, are left as they are, so that the caller can try again.
    """
    try:
        if "://" in path:
            filesystem, inner = url_to_fs(path)
            return filesystem.cat_file(inner)
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"{path}: not a file")  # reading a pipe or device might never end
        return Path(path).read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _NO_FILE:
            raise ValueError(f"{path}: {error.strerror or 'file not found'}") from error
        raise


def read_text(path: str, content: str) -> str:
    """Text of a UTF-8 file; `content` says in the error message what is expected in it."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; expected {content}") from error
    except ValueError as error:
        raise ValueError(f"{error}; expected {content}") from error


def read_all(paths: Iterable[str], num_threads: int = 16) -> list[bytes | ValueError]:
    """Contents of many small files, in order; the error in place of what cannot be read."""
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(lambda path: attempt(read_bytes, path), paths))


def walk(folder: str) -> list[str]:
    """Paths of all files below a folder, relative to it, sorted; hidden ones are left out.

    A folder that does not exist has no files.
    """
    filesystem, root = url_to_fs(folder)
    root = root.rstrip("/") + "/"
    try:
        below = [path.removeprefix(root) for path in filesystem.find(root)]
    except FileNotFoundError:
        return []
    return sorted(path for path in below if not any(p.startswith(".") for p in path.split("/")))
