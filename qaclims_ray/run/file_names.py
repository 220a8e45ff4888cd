"""What the files of images were called, kept beside an artifact of images: exports take them up."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import pyarrow as pa

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.files import exists
from qaclims_ray.storage.parquet import read_batches, write_tables
from qaclims_ray.storage.paths import member_name, shown

_TABLE = "files.parquet"
_SCHEMA = pa.schema([("name", pa.string()), ("file", pa.string())])
_ROW_GROUP = 2**20
"""Rows of a row group, as many as Parquet writers take by themselves."""


def write_file_names(images: Artifact, parts: Callable[[], Iterable[Mapping[str, str]]]) -> None:
    """Keep the file name of each image.

    Args:
        images: An artifact of images.
        parts: Gives, each time anew and one part after the other, for the name of each image the
            path, URL or member of a tar that it was read from.
    """
    folders = (folder for part in parts() if (folder := _common_folder(part.values())) is not None)
    folder = _joint(folders)
    tables = (pa.table([list(part), _below(part.values(), folder)], _SCHEMA) for part in parts())
    write_tables(_in_row_groups(tables), f"{images.uri}/{_TABLE}", checksums=True)


def _in_row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join tables to those that become one row group each, as of one table they would."""
    pending = _SCHEMA.empty_table()
    for table in tables:
        pending = pa.concat_tables([pending, table])
        while len(pending) > _ROW_GROUP:
            yield pending.slice(0, _ROW_GROUP).combine_chunks()
            pending = pending.slice(_ROW_GROUP)
    yield pending.combine_chunks()


def file_names(images: Artifact) -> Iterator[tuple[str, str]]:
    """Go through names and file names of images in the order of names, some in memory at a time.

    There is nothing where an earlier version made the artifact.
    """
    uri = f"{images.uri}/{_TABLE}"
    if exists(uri):
        for batch in read_batches(uri, _SCHEMA):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


class FileNames:
    """Tells file names of images that are asked for in the order of their names, once."""

    def __init__(self, images: Artifact) -> None:
        self._remaining = file_names(images)
        self._next = next(self._remaining, None)
        self.known = self._next is not None
        """Whether any is known."""

    def of(self, name: str) -> str | None:
        """Return the file name of an image; None: not known."""
        while self._next is not None and self._next[0] < name:
            self._next = next(self._remaining, None)
        found = self._next
        return found[1] if found is not None and found[0] == name else None


def relative(paths: Sequence[str]) -> list[str]:
    """Return each path below the folder that all have in common; of a tar the member's name.

    What a URL has behind a question mark is left out.
    """
    return _below(paths, _common_folder(paths) or "")


def _common_folder(paths: Iterable[str]) -> str | None:
    """The beginning that the folders of all files have in common; None: members of tars alone."""
    folders = {f"{os.path.dirname(_plain(path))}/" for path in paths if member_name(path) is None}
    return _joint(folders) if folders else None


def _joint(folders: Iterable[str]) -> str:
    # By characters, and cut at a slash: `commonpath` knows no URLs.
    given = iter(folders)
    common = reduce(lambda *both: os.path.commonprefix(both), given, next(given, ""))  # noqa: RUF071
    return common[: common.rfind("/") + 1]


def _below(paths: Iterable[str], folder: str) -> list[str]:
    return [
        shown(_plain(path)[len(folder) :]) if (name := member_name(path)) is None else name
        for path in paths
    ]


def _plain(path: str) -> str:
    return path.partition("?")[0] if "://" in path else path
