"""Files at a URI, on local disk or in cloud storage: paths, atomic writes, removal."""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem


def absolute(uri: str) -> str:
    """The URI without a slash at its end; a local path absolute, as workers run elsewhere."""
    return uri.rstrip("/") if "://" in uri else str(Path(uri).resolve())


def remove(uri: str) -> None:
    """Remove a file or a folder with all that it holds; nothing there is fine."""
    fs, path = fsspec.url_to_fs(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def find(pattern: str) -> list[str]:
    """URIs that match a pattern, sorted; `*` is the one wildcard, as folders may be called [1]."""
    fs, path = fsspec.url_to_fs(pattern)
    literal = re.sub(r"[\[?]", r"[\g<0>]", path)
    return sorted(fs.unstrip_protocol(str(found)) for found in fs.glob(literal))


@contextmanager
def atomic_open(uri: str) -> Generator[IO[bytes]]:
    """Open a file for writing that appears whole under its name, or not at all."""
    fs, path = fsspec.url_to_fs(uri)
    if not isinstance(fs, LocalFileSystem):  # a store's own file would appear on errors too
        buffer = BytesIO()
        yield buffer
        fs.pipe_file(path, buffer.getvalue())
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{path}.{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(uri: str, content: Any) -> None:
    """Write plain data as a JSON file, atomically."""
    with atomic_open(uri) as file:
        file.write(json.dumps(content, indent=2).encode())


def read_json(uri: str) -> Any:
    """The plain data in a JSON file, or None where there is none."""
    fs, path = fsspec.url_to_fs(uri)
    return json.loads(fs.cat_file(path)) if fs.exists(path) else None


def read_bytes(uri: str) -> bytes:
    """A whole file."""
    fs, path = fsspec.url_to_fs(uri)
    return fs.cat_file(path)


def write_bytes(uri: str, content: bytes) -> None:
    """Write a whole file, atomically."""
    with atomic_open(uri) as file:
        file.write(content)
