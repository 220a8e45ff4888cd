"""Which files there are, on local disk or in cloud storage."""

import os
import re
from collections.abc import Iterable, Sequence
from glob import glob as local_glob
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from qaclims_ray.storage.files import exists
from qaclims_ray.storage.filesystem import filesystem, in_threads, patiently
from qaclims_ray.storage.paths import WEB, join


def find(pattern: str) -> list[str]:
    """Find the files and folders that match a pattern, sorted, hidden ones included.

    `*` is the only wildcard: folders may be called `run [1]`. A local pattern finds local paths.
    """
    fs, path = filesystem(pattern)
    literal = re.sub(r"[\[?]", r"[\g<0>]", path)
    return _like(pattern, fs, patiently(lambda: fs.glob(literal), pattern))


def glob(pattern: str) -> list[str]:
    """Find the files that match a pattern with `*`, `?` or `[…]`, sorted, hidden ones left out.

    Unlike in `find`, links to local folders are followed.
    """
    fs, path = filesystem(pattern)
    if isinstance(fs, LocalFileSystem):
        return _like(pattern, fs, local_glob(path, recursive=True))
    return _like(pattern, fs, patiently(lambda: fs.glob(path), pattern))


def _like(pattern: str, fs: AbstractFileSystem, found: Iterable[Any]) -> list[str]:
    """Sort paths, and write them as URLs where the pattern is one."""
    return sorted(fs.unstrip_protocol(path) if "://" in pattern else path for path in found)


def list_files(folder: str) -> list[str]:
    """List all files below a folder by their paths relative to it, sorted, without hidden ones.

    Links to local folders are followed, but for those that lead back to a folder above them. A
    folder that does not exist has no files.

    Raises:
        ValueError: a folder below it was removed while it was listed.
    """
    fs, root = filesystem(folder)
    local = isinstance(fs, LocalFileSystem)
    try:
        return sorted(patiently(lambda: _walk(root) if local else _list(fs, root), folder))
    except FileNotFoundError:
        return []


def _walk(folder: str, above: tuple[str, ...] = ()) -> list[str]:
    """List the files below a local folder; none if it is one of those `above`, by real paths."""
    real = os.path.realpath(folder)
    if real in above:
        return []
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        if not above:
            raise
        raise ValueError(f"{folder} was removed while its files were listed: try again") from None
    files: list[str] = []
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            files += (f"{name}/{file}" for file in _walk(path, (*above, real)))
        else:
            files.append(name)
    return files


def _list(fs: AbstractFileSystem, root: str) -> list[str]:
    root = root.rstrip("/") + "/"
    below = (path.removeprefix(root) for path in fs.find(root))
    return [path for path in below if not any(part.startswith(".") for part in path.split("/"))]


def existing(paths: Sequence[str]) -> set[str]:
    """Return those of many paths at which there is a file.

    Folders are listed once each; a web server, which lists none, is asked for each file.
    """
    web = [path for path in paths if path.startswith(WEB)]
    folders = {path.rpartition("/")[0] for path in paths if not path.startswith(WEB)}
    listed = {join(folder, file) for folder in folders for file in list_files(folder)}
    found = {url for url, is_there in zip(web, in_threads(exists, web), strict=True) if is_there}
    return listed.intersection(paths) | found
