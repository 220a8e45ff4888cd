"""How storage is reached: the file system of a URI, and calls to it, tried again and in threads."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem, make_path_posix

from qaclims_ray.storage.paths import shown

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
_THREADS = 16
_T = TypeVar("_T")
_In = TypeVar("_In")


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URI and the path in it.

    Raises:
        ValueError: the URI's scheme is unknown, or the package that serves it is not installed.
    """
    if "://" not in uri:  # fsspec would take "::" in a name for a chain of file systems
        return LocalFileSystem(), make_path_posix(uri).rstrip("/") or "/"
    try:
        # What was listed once would hide what other processes write.
        return fsspec.url_to_fs(uri, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ValueError(shown(f"{uri}: {error}")) from error


class _Handler(pafs.FSSpecHandler):
    """Opens files without asking first whether they are some: to open one tells, too."""

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open a file to read it."""
        return pa.PythonFile(self.fs.open(path, mode="rb"), mode="r")


def arrow_filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system and path of a URI as pyarrow and Ray take them."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return pafs.LocalFileSystem(), path
    return pafs.PyFileSystem(_Handler(fs)), path


def is_local(uri: str) -> bool:
    """Tell whether a URI is a path of this machine."""
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def patiently(call: Callable[[], _T], uri: str) -> _T:
    """Return a call's result; try again with growing pauses where the error is transient.

    Raises:
        FileNotFoundError: as it is, for those who expect it.
        ValueError: the error is permanent, or the last of the tries failed after 16 seconds.
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
    """Tell whether the same call may succeed a little later."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    known = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
    return not known and any(re.search(pattern, str(error)) for pattern in TRANSIENT_ERRORS)


def in_threads(
    function: Callable[[_In], _T], items: Iterable[_In], threads: int = _THREADS
) -> list[_T]:
    """Map a function that waits for storage over items, in order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
