"""List the files in a tar, reading headers and labels only.

What macOS writes beside other files (`._a.jpg`, `.DS_Store`, `__MACOSX`) is left out.
"""

import tarfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qaclims_ray.ingest.label_files import parse_labels
from qaclims_ray.storage.errors import Failures, attempt
from qaclims_ray.storage.files import Stream, open_stream, read_ranges

_LONGEST_LABELS = 1 << 20
"""Most bytes of a file of labels."""
_HEADER = 512


class Member(NamedTuple):
    """A file in a tar, or a link."""

    name: str
    offset: int
    size: int
    labels: list[str] | ValueError | None
    """Labels of a member that holds some."""
    is_file: bool
    """False for a link, or a file with holes."""


def list_members(tar: str, label_suffixes: Sequence[str], failures: Failures) -> Iterator[Member]:
    """Yield the files and links in a tar up to where it is damaged, which is added to `failures`.

    Raises:
        ValueError: it is missing, compressed or no tar; nothing has been yielded then.
    """
    read_ranges(tar, [(0, _HEADER)])  # fail now where parts of it cannot be read later
    with open_stream(tar) as file, _open(tar, file) as archive:
        try:
            for info in archive:
                has_content = info.isreg() or info.islnk() or info.issym()
                if has_content and not _is_of_macos(info.name):
                    # One by one, as an error keeps those before it.
                    yield _read_member(archive, info, label_suffixes)
                # tarfile keeps all of them, at half a kilobyte each.
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # untyped
            file.seek(archive.offset)
            damage = "no header" if file.read(_HEADER).strip(b"\0") else None
        except (tarfile.TarError, OverflowError, ValueError) as error:
            damage = str(error)
        where = archive.offset
    if damage is not None:
        failures.append((tar, f"{tar}: damaged or cut off at byte {where:,} ({damage})"))


def _is_of_macos(name: str) -> bool:
    """Tell whether a member holds what macOS notes about other files."""
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last.startswith("._") or last == ".DS_Store"


def _open(tar: str, file: Stream) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except (tarfile.TarError, OverflowError, ValueError) as error:
        raise ValueError(
            f"{tar}: no tar, or a compressed one ({error}); images are read from within, so unpack "
            ".tar.gz and the like to .tar"
        ) from error


def _read_member(
    archive: tarfile.TarFile, info: tarfile.TarInfo, label_suffixes: Sequence[str]
) -> Member:
    suffix = split_name(info.name)[1]
    labels: list[str] | ValueError | None = None
    is_file = info.isreg() and not info.issparse()
    if is_file and suffix in label_suffixes:
        labels = ValueError(f"{info.size:,} bytes are too many for labels")
        content = archive.extractfile(info) if info.size <= _LONGEST_LABELS else None
        if content is not None:
            labels = attempt(parse_labels, content.read(), is_json=suffix == "json")
    return Member(info.name.removeprefix("./"), info.offset_data, info.size, labels, is_file)


def split_name(name: str) -> tuple[str, str]:
    """Split a name into key and suffix, at the first dot of its last part."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()
