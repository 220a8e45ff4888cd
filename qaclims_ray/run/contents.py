"""The files of a finished artifact: listed when it is completed, compared when it is opened.

Names and sizes are compared each time, which takes a listing of the folder; SHA-256 digests where
somebody asks (`qaclims verify`), and those of a network's weights before they are used.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from qaclims_ray.storage.files import open_stream, read_json, sizes, write_json
from qaclims_ray.storage.filesystem import in_threads
from qaclims_ray.storage.parquet import key_range, read_footers

_DIGESTS = "digests.json"
_FOLDERS = ("", "_errors/", "_mask_errors/")
_PARQUET, WEIGHTS, _JSON = ".parquet", ".safetensors", ".json"
"""Ends of the names of files that are listed; names that begin with `_` are those of markers."""
RANKING = "average_precision.json"
"""File of a classifier with the average precision of each class, on images of its training."""
_THREADS = 4
_CHUNK = 2**22


class File(TypedDict):
    """One file of an artifact."""

    name: str
    """Path below the artifact's folder."""
    rows: int | None
    """Rows of a table; None: it is none."""
    bytes: int
    digest: str
    """SHA-256, in hexadecimal digits."""
    keys: NotRequired[tuple[str, str] | None]
    """First and last key of a table, which is sorted by it; None: the file does not tell."""


def list_contents(uri: str, work: str | None = None) -> list[File]:
    """List the tables, weights and figures of an artifact by name, each with its digest.

    Args:
        uri: Folder of the artifact.
        work: Folder of its unfinished work, where digests may be noted (`note_digests`).
    """
    found = {
        f"{folder}{name}": size
        for folder in _FOLDERS
        for name, size in sizes(f"{uri}/{folder}".rstrip("/")).items()
        if name.endswith((_PARQUET, WEIGHTS, _JSON)) and not name.startswith("_")
    }
    names = sorted(found)
    tables = [name for name in names if name.endswith(_PARQUET)]
    footers = dict(zip(tables, read_footers([f"{uri}/{name}" for name in tables]), strict=True))
    noted: dict[str, str] = (read_json(f"{work}/{_DIGESTS}") if work else None) or {}
    digests = in_threads(lambda name: noted.get(name) or _digest(f"{uri}/{name}"), names, _THREADS)
    return [
        File(
            name=name,
            rows=None if (footer := footers.get(name)) is None else footer.num_rows,
            bytes=found[name],
            digest=digest,
            keys=None if footer is None else key_range(footer),
        )
        for name, digest in zip(names, digests, strict=True)
    ]


def note_digests(work: str, digests: Mapping[str, str]) -> None:
    """Note the digests of an artifact's files, by name, where they were computed as it was written.

    Nobody has to read them all once more, which may be terabytes, in one process.
    """
    write_json(f"{work}/{_DIGESTS}", digests)


def digest_of(content: bytes) -> str:
    """Return the digest of a file's bytes, as `File` has it."""
    return hashlib.sha256(content).hexdigest()


def check_sizes(uri: str, files: Sequence[File]) -> None:
    """Compare the files of an artifact with those that it was completed with.

    Raises:
        ValueError: one is missing, or has another size.
    """
    folders = {file["name"].rpartition("/")[0] for file in files}
    there = {
        f"{folder}/{name}".removeprefix("/"): size
        for folder in folders
        for name, size in sizes(f"{uri}/{folder}".rstrip("/")).items()
    }
    damages: list[str] = []
    for file in files:
        size = there.get(file["name"])
        if size is None:
            damages.append(f"{file['name']} is missing")
        elif size != file["bytes"]:
            damages.append(f"{file['name']} has {size:,} bytes in place of {file['bytes']:,}")
    _refuse(uri, damages, len(files))


def check_digests(uri: str, files: Sequence[File]) -> None:
    """Compare the bytes of an artifact's files with those that it was completed with.

    Raises:
        ValueError: one differs.
    """
    digests = in_threads(lambda file: _digest(f"{uri}/{file['name']}"), files, _THREADS)
    differing = [
        f"{file['name']} has other bytes"
        for file, digest in zip(files, digests, strict=True)
        if digest != file["digest"]
    ]
    _refuse(uri, differing, len(files))


def _refuse(uri: str, damages: Sequence[str], num_files: int) -> None:
    if damages:
        raise ValueError(
            f"{uri} is damaged, {len(damages)} of {num_files} files: {damages[0]}. Restore what "
            "was lost from a copy, or make the artifact anew (--overwrite)"
        )


def _digest(uri: str) -> str:
    digest = hashlib.sha256()
    with open_stream(uri) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
