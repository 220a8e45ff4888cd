"""Files on local disk or in cloud storage: read, write and remove; `listing` finds them.

Every part of the package opens its storage here. Endpoint, region and credentials are those of the
storage's own standard environment (for S3 `AWS_ENDPOINT_URL`, `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`,
an IAM role and so on); none of them is part of a configuration.
"""

import json
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeAlias, TypeVar
from uuid import uuid4

from fsspec.implementations.local import LocalFileSystem

from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.filesystem import filesystem, in_threads, patiently
from qaclims_ray.storage.paths import shown, split_member

Stream: TypeAlias = Any
"""Binary file to read, of fsspec, whose classes have no types."""
_T = TypeVar("_T")


class MissingFileError(FileNotFoundError, ValueError):
    """There is no such file: a ValueError for users, like all that they can mend."""


def exists(uri: str) -> bool:
    """Tell whether there is a file or folder."""
    fs, path = filesystem(uri)
    return patiently(lambda: fs.exists(path), uri)


def size(uri: str) -> int:
    """Return the size of a file in bytes."""
    fs: Any
    fs, path = filesystem(uri)
    return patiently(lambda: fs.size(path), uri)


def modified(uri: str) -> datetime:
    """Return when a file was written, by the clock of its storage."""
    fs: Any
    fs, path = filesystem(uri)
    return patiently(lambda: fs.modified(path), uri)


def sizes(folder: str) -> dict[str, int]:
    """Return the sizes in bytes of the files right in a folder, by name; none without a folder."""
    fs, path = filesystem(folder)
    try:
        found = patiently(lambda: fs.ls(path, detail=True), folder)
    except FileNotFoundError:
        return {}
    return {
        one["name"].rpartition("/")[2]: one["size"] for one in found if one["type"] != "directory"
    }


def remove(uri: str) -> None:
    """Remove a file, or a folder with all that it holds; do nothing where there is none."""
    fs, path = filesystem(uri)
    if exists(uri):
        patiently(lambda: fs.rm(path, recursive=True), uri)


def read_bytes(uri: str) -> bytes:
    """Read a whole file, or a file inside a tar (see `paths.member`).

    Raises:
        MissingFileError: there is no such file.
        ValueError: it is no file, may not be read, or its server fails for long.
    """
    within = split_member(uri)
    if within and not os.path.exists(uri):
        tar, offset, num_bytes = within
        return read_ranges(tar, [(offset, num_bytes)])[0]
    return _read(uri, _whole)


def _whole(fs: Any, path: str) -> bytes:
    """Read a file by one request: those who would fetch parts at once ask for its size first."""
    one_at_a_time = {"max_concurrency": 1} if hasattr(fs, "max_concurrency") else {}
    return fs.cat_file(path, **one_at_a_time)


def read_ranges(uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read parts of a file, given by offset and size in bytes; of a remote file several at a time.

    Raises:
        ValueError: as in `read_bytes`; the file ends before a part does; or its server does not
            hand out parts.
    """
    starts = [offset for offset, _ in ranges]
    ends = [offset + num_bytes for offset, num_bytes in ranges]
    parts: list[bytes] = _read(
        uri, lambda fs, path: fs.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
    )
    for part, start, end in zip(parts, starts, ends, strict=True):
        if len(part) < end - start:
            raise ValueError(shown(f"{uri}: cut off, bytes {start:,} to {end:,} are missing"))
        if len(part) > end - start:
            raise ValueError(
                f"{shown(uri)}: its server does not hand out parts of files (range requests); copy "
                "the file to disk or to a store such as s3://"
            )
    return parts


@contextmanager
def open_stream(uri: str) -> Generator[Stream]:
    """Open a file to read it bit by bit; errors as in `read_bytes`."""
    with _read(uri, lambda fs, path: fs.open(path, "rb")) as file:
        yield file


def read_text(uri: str, content: str) -> str:
    """Read a UTF-8 file; `content` says in the error message what it should hold."""
    try:
        return read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown(uri)}: not UTF-8 text; expected {content}") from error
    except ValueError as error:
        raise ValueError(f"{error}; expected {content}") from error


def read_json(uri: str) -> Any:
    """Read the plain data in a JSON file; None where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content = read_bytes(uri)
    except FileNotFoundError:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{shown(uri)} is damaged, {error}: restore it from a copy, or remove it and make anew "
            "what it belongs to (--overwrite)"
        ) from error


def read_all(uris: Iterable[str]) -> list[bytes | ValueError]:
    """Read many small files, in order; the error stands in place of one that cannot be read."""
    return in_threads(lambda uri: attempt(read_bytes, uri), uris)


def _read(uri: str, read: Callable[[Any, str], _T]) -> _T:
    """Return what `read` makes of the file system and path of a regular file."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem) and os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{uri}: not a file")  # reading a pipe or device might never end
    try:
        return patiently(lambda: read(fs, path), uri)
    except FileNotFoundError as error:
        raise MissingFileError(shown(f"{uri}: {error.strerror or 'file not found'}")) from error


@contextmanager
def atomic_open(uri: str, *, durable: bool = False) -> Generator[IO[bytes]]:
    """Open a file for writing that appears whole under its name, or not at all.

    Args:
        uri: The file.
        durable: Whether it must be on disk before it appears, whenever the power fails.
    """
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):  # a store's own file would appear on errors too
        buffer = BytesIO()
        yield buffer
        try:
            patiently(lambda: fs.pipe_file(path, buffer.getvalue()), uri)
        except FileNotFoundError as error:  # the bucket itself
            raise ValueError(shown(f"{uri}: {error}")) from error
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # A name may be as long as file systems allow: the temporary one must not grow with it.
    temporary = Path(path).with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged_open(uri: str) -> Generator[IO[bytes]]:
    """Open a file as `atomic_open` does, but keep it on disk, not in memory, until it is sent."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        with atomic_open(uri) as file:
            yield file
        return
    with TemporaryDirectory() as folder:
        local = Path(folder) / "whole"
        with local.open("wb") as file:
            yield file
        patiently(lambda: fs.put_file(str(local), path), uri)


def write_bytes(uri: str, content: bytes, *, durable: bool = False) -> None:
    """Write a whole file; see `atomic_open`."""
    with atomic_open(uri, durable=durable) as file:
        file.write(content)


def write_json(uri: str, content: Any) -> None:
    """Write plain data as a JSON file, atomically; it is on disk when it appears."""
    with atomic_open(uri, durable=True) as file:
        file.write(json.dumps(content, indent=2).encode())
