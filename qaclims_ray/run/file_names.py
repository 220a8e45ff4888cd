"""What the files of images were called, kept beside an artifact of images: exports take them up."""

import os
from collections.abc import Mapping

import pyarrow as pa

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.files import exists
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.storage.paths import member_name, shown

_TABLE = "files.parquet"
_SCHEMA = pa.schema([("name", pa.string()), ("file", pa.string())])


def write_file_names(images: Artifact, paths: Mapping[str, str]) -> None:
    """Keep the file name of each image.

    Args:
        images: An artifact of images.
        paths: For the name of each image the path, URL or member of a tar that it was read from.
    """
    table = pa.table([list(paths), relative(list(paths.values()))], schema=_SCHEMA)
    write_parquet(table, f"{images.uri}/{_TABLE}")


def read_file_names(images: Artifact) -> dict[str, str]:
    """Return the file name of each image; nothing where an earlier version made the artifact."""
    uri = f"{images.uri}/{_TABLE}"
    if not exists(uri):
        return {}
    table = read_parquet(uri, _SCHEMA)
    return dict(zip(table["name"].to_pylist(), table["file"].to_pylist(), strict=True))


def relative(paths: list[str]) -> list[str]:
    """Return each path below the folder that all have in common; of a tar the member's name.

    What a URL has behind a question mark is left out.
    """
    members = [member_name(path) for path in paths]
    plain = [path.partition("?")[0] if "://" in path else path for path in paths]
    files = [path for path, member in zip(plain, members, strict=True) if member is None]
    # By characters, and cut at a slash: `commonpath` knows no URLs.
    common = os.path.commonprefix([f"{os.path.dirname(path)}/" for path in files])  # noqa: RUF071
    start = common.rfind("/") + 1
    return [
        shown(path[start:]) if member is None else member
        for path, member in zip(plain, members, strict=True)
    ]
