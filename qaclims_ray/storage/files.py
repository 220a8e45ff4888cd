"""Files at a URI, on local disk or in cloud storage: paths, atomic writes, removal, patience.

Every part of the package opens its storage here. Endpoint, region and credentials are those of the
storage's own standard environment (for S3 `AWS_ENDPOINT_URL`, `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`,
an IAM role and so on); none of them is part of a configuration.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from uuid import uuid4

import fsspec
import pyarrow.fs as pafs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

log = logging.getLogger(__name__)

TRANSIENT_ERRORS = (
    r"SlowDown",
    r"SLOW_DOWN",
    r"reduce your request rate",
    r"Too Many Requests",
    r"RequestTimeout",
    r"ServiceUnavailable",
    r"SERVICE_UNAVAILABLE",
    r"Service Unavailable",
    r"InternalError",
    r"INTERNAL_FAILURE",
    r"NETWORK_CONNECTION",
    r"\b(429|500|502|503|504)\b",
    r"Connection (reset|refused|aborted|closed)",
    r"Could not connect to the endpoint",
    r"(?i)timed? ?out",
    r"IncompleteRead",
    r"Server disconnected",
    r"Connection was closed before we received",
    r"payload is not completed",
    r"Temporary failure in name resolution",
    r"Broken pipe",
)
"""Patterns of errors that time mends, in the words of s3fs, pyarrow, gcsfs and adlfs."""
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries of a call."""
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"""(://[^\s?#]*)?\?(?(1)|(?=[^\s#]*=))[^\s#]*[^\s#:,;.)'"\]}]""")
_T = TypeVar("_T")


def shown(text: str) -> str:
    """A URI, or a message that holds some, as others may see it.

    User and password, and what follows a question mark, such as a signature, are left out. What
    is no UTF-8, as in names of files of old disks, is escaped.
    """
    text = text.encode(errors="backslashreplace").decode()
    return _QUERY.sub(lambda query: f"{query[1] or ''}?…", _USER.sub("", text))


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI and the path in it.

    Raises:
        ValueError: the URI's scheme is unknown, or the package that serves it is not installed.
    """
    try:
        # What was listed once would hide what other processes write.
        return fsspec.url_to_fs(uri, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ValueError(shown(f"{uri}: {error}")) from error


def arrow_filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """The same as pyarrow and Ray want it."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return pafs.LocalFileSystem(), path
    return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path


def patiently(call: Callable[[], _T], uri: str) -> _T:
    """The result of a call to storage, tried again with growing pauses while time may mend it.

    Raises:
        FileNotFoundError: as it is, for those who expect it.
        ValueError: the storage refuses for good, or still fails after 16 seconds.
    """
    for pause in (*_PAUSES, None):
        try:
            return call()
        except FileNotFoundError:
            raise
        except Exception as error:
            if pause is None or not is_transient(error):
                raise ValueError(shown(f"{uri}: {type(error).__name__}: {error}")) from error
            log.info("%s; tried again in %s s", shown(f"{uri}: {error}"), pause)
            time.sleep(pause)
    raise AssertionError("unreachable")


def is_transient(error: Exception) -> bool:
    """Whether the same call may well succeed a little later."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    known = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
    return not known and any(re.search(pattern, str(error)) for pattern in TRANSIENT_ERRORS)


def absolute(uri: str) -> str:
    """The URI without a slash at its end; a local path absolute, as workers run elsewhere."""
    return uri.rstrip("/") if "://" in uri else str(Path(uri).resolve())


def is_local(uri: str) -> bool:
    """Whether a URI is a path of this machine."""
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def size(uri: str) -> int:
    """Bytes of a file."""
    fs, path = filesystem(uri)
    return cast(int, patiently(lambda: fs.size(path), uri))


def exists(uri: str) -> bool:
    """Whether there is a file or folder."""
    fs, path = filesystem(uri)
    return patiently(lambda: fs.exists(path), uri)


def remove(uri: str) -> None:
    """Remove a file or a folder with all that it holds; nothing there is fine."""
    fs, path = filesystem(uri)
    if exists(uri):
        patiently(lambda: fs.rm(path, recursive=True), uri)


def find(pattern: str) -> list[str]:
    """URIs that match a pattern, sorted; `*` is the one wildcard, as folders may be called [1]."""
    fs, path = filesystem(pattern)
    literal = re.sub(r"[\[?]", r"[\g<0>]", path)
    found = patiently(lambda: fs.glob(literal), pattern)
    return sorted(fs.unstrip_protocol(str(one)) for one in found)


@contextmanager
def atomic_open(uri: str) -> Generator[IO[bytes]]:
    """Open a file for writing that appears whole under its name, or not at all."""
    fs, path = filesystem(uri)
    if not isinstance(fs, LocalFileSystem):  # a store's own file would appear on errors too
        buffer = BytesIO()
        yield buffer
        _put(fs, path, buffer.getvalue(), uri)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # A name may be as long as file systems allow: the temporary one must not grow with it.
    temporary = Path(path).with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(fs: AbstractFileSystem, path: str, content: bytes, uri: str) -> None:
    try:
        patiently(lambda: fs.pipe_file(path, content), uri)
    except FileNotFoundError as error:  # the bucket itself
        raise ValueError(shown(f"{uri}: {error}")) from error


def write_json(uri: str, content: Any) -> None:
    """Write plain data as a JSON file, atomically."""
    with atomic_open(uri) as file:
        file.write(json.dumps(content, indent=2).encode())


def read_json(uri: str) -> Any:
    """The plain data in a JSON file, or None where there is none."""
    try:
        return json.loads(read_bytes(uri))
    except FileNotFoundError:
        return None


def read_bytes(uri: str) -> bytes:
    """A whole file."""
    fs, path = filesystem(uri)
    return cast(bytes, patiently(lambda: fs.cat_file(path), uri))


def write_bytes(uri: str, content: bytes) -> None:
    """Write a whole file, atomically."""
    with atomic_open(uri) as file:
        file.write(content)
