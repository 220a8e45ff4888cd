"""Members of tars that belong together, in the order of tars and of their members.

Members of one key may lie anywhere in their tar. So all are sorted by key, joined, and sorted back,
on this machine's disk: some are in memory at a time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from qaclims_ray.images.decode import SUFFIXES
from qaclims_ray.ingest.tar_members import Member, list_members, split_name
from qaclims_ray.storage.errors import Failures, attempt, separate
from qaclims_ray.storage.files import MissingFileError
from qaclims_ray.storage.paths import check_inside, member
from qaclims_ray.storage.sorting import RowSorter, as_bytes, as_text

MASK_SUFFIXES = ("mask.png", "seg.png")

_THREADS = 8
"""Number of tars that are listed at once."""
_MEMBERS = pa.schema(
    [
        ("tar", pa.int32()),
        ("key", pa.binary()),
        ("offset", pa.int64()),
        ("name", pa.binary()),
        ("size", pa.string()),  # that of a damaged header may be beyond 64 bits
        ("labels", pa.list_(pa.string())),
        ("fault", pa.string()),
        ("is_file", pa.bool_()),
    ]
)
_SAMPLES = pa.schema(
    [
        ("tar", pa.int32()),
        ("first", pa.int64()),
        ("key", pa.binary()),
        ("image", pa.binary()),
        ("mask", pa.binary()),
        ("labels", pa.list_(pa.string())),
    ]
)


class Sample(NamedTuple):
    """The members of one key."""

    key: str
    image: str
    """Path as `storage.files.read_bytes` takes it, as is the mask's."""
    mask: str | None
    labels: list[str] | None
    """Labels as written; None where the image is unlabelled."""


class TarSamples:
    """The samples of tars; they lie on disk, and are read anew each time that one goes through."""

    def __init__(self, tars: Sequence[str], label_suffixes: Sequence[str]) -> None:
        """List tars; see `webdataset.read_webdataset`.

        Raises:
            ValueError: a tar is missing, or none can be listed.
        """
        self.labels = set[str]()
        """Labels as written, each once."""
        self.numbers_of_labels = set[int]()
        """How many labels samples have."""
        self.num_unlabelled = 0
        self._tars, self._suffixes = tars, label_suffixes
        self._found: list[tuple[tuple[int, int, int], str, str]] = []
        members = RowSorter(_MEMBERS, ["tar", "key", "offset"])
        broken = self._list(members)
        self._rows = RowSorter(_SAMPLES, ["tar", "first"])
        self._rows.add(self._joined(members))
        found = [(name, reason) for _, name, reason in sorted(self._found)]
        self.errors: Failures = [*broken, *found]
        """Tars that are broken; members and keys that cannot be used."""

    def __iter__(self) -> Iterator[Sample]:
        for row in self._rows:
            mask = row["mask"]
            image, mask = as_text(row["image"]), None if mask is None else as_text(mask)
            yield Sample(as_text(row["key"]), image, mask, row["labels"])

    def _list(self, members: RowSorter) -> Failures:
        """Add the members of all tars; return the tars that cannot be listed."""

        def add(number: int, tar: str) -> Failures:
            damage: Failures = []
            found = list_members(tar, self._suffixes, damage)
            members.add(_row(number, one) for one in found)
            return damage

        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(lambda one: attempt(add, *one), enumerate(self._tars)))
        listed, broken = separate(zip(self._tars, found, strict=True))
        fatal = [one for one in found if isinstance(one, MissingFileError) or not listed]
        if fatal and isinstance(fatal[0], ValueError):
            raise fatal[0]
        for number, damage in enumerate(found):
            if not isinstance(damage, ValueError):
                self._found += [((number, 0, 0), *one) for one in damage]
        return broken

    def _joined(self, members: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for (number, key), rows in groupby(members, itemgetter("tar", "key")):
            parts, others = self._parts(number, map(_member, rows))
            if not parts:
                continue
            tar, name = self._tars[int(number)], as_text(key)
            first = min(one.offset for one in parts.values())
            sample = attempt(_sample, tar, name, parts, others, self._suffixes)
            if isinstance(sample, ValueError):
                self._found.append(((number, 2, first), f"{tar}#{name}", str(sample)))
                continue
            self._count(sample.labels)
            yield {
                "tar": number,
                "first": first,
                "key": key,
                "image": as_bytes(sample.image),
                "mask": None if sample.mask is None else as_bytes(sample.mask),
                "labels": sample.labels,
            }

    def _parts(self, number: int, members: Iterable[Member]) -> tuple[dict[str, Member], list[str]]:
        """Members of one key by their roles, and the names of those that have none."""
        tar, parts, others = self._tars[number], dict[str, Member](), list[str]()
        for one in members:
            suffix = split_name(one.name)[1]
            role = _role(suffix, self._suffixes)
            reason = _objection(one, suffix, role, parts.get(role))
            if reason is not None:
                name = f"{tar}#{one.name}"
                place = (number, 1, one.offset)
                self._found.append((place, f"{name} (byte {one.offset})", f"{name}: {reason}"))
            elif role:
                parts[role] = one
            else:
                others.append(one.name)
        return parts, others

    def _count(self, labels: Sequence[str] | None) -> None:
        if labels is None:
            self.num_unlabelled += 1
        else:
            self.numbers_of_labels.add(len(labels))
            self.labels.update(labels)


def _row(number: int, one: Member) -> dict[str, Any]:
    labels = one.labels
    return {
        "tar": number,
        "key": as_bytes(split_name(one.name)[0]),
        "offset": one.offset,
        "name": as_bytes(one.name),
        "size": str(one.size),
        "labels": None if isinstance(labels, ValueError) else labels,
        "fault": str(labels) if isinstance(labels, ValueError) else None,
        "is_file": one.is_file,
    }


def _member(row: Mapping[str, Any]) -> Member:
    labels = row["labels"] if row["fault"] is None else ValueError(row["fault"])
    return Member(as_text(row["name"]), row["offset"], int(row["size"]), labels, row["is_file"])


def _role(suffix: str, label_suffixes: Sequence[str]) -> str:
    """Return what a member is: `image`, `mask`, a suffix of labels, or empty for other files."""
    if suffix in SUFFIXES:
        return "image"
    return "mask" if suffix in MASK_SUFFIXES else suffix if suffix in label_suffixes else ""


def _objection(one: Member, suffix: str, role: str, other: Member | None) -> str | None:
    """Return why a member cannot be used, None if it can."""
    inside = attempt(check_inside, one.name)
    if isinstance(inside, ValueError):
        return str(inside)
    if role and not one.is_file:
        return "a link, or a file with holes: pack the file itself"
    if other is not None:
        return f"{other.name} is there already for the same purpose"
    if suffix not in MASK_SUFFIXES and suffix.rpartition(".")[2] in SUFFIXES - {suffix}:
        return f"unknown suffix {suffix!r}: keys of WebDataset end at the first dot"
    return None


def _sample(
    tar: str,
    key: str,
    parts: dict[str, Member],
    others: Sequence[str],
    label_suffixes: Sequence[str],
) -> Sample:
    """Make the sample of a key from its parts by their roles.

    Raises:
        ValueError: its labels cannot be read, or it has no image; `others` may be meant for one.
    """
    found = next((parts[suffix] for suffix in label_suffixes if suffix in parts), None)
    labels = None if found is None else found.labels
    if isinstance(labels, ValueError):
        assert found is not None
        raise ValueError(f"{tar}#{found.name}: {labels}")
    if "image" not in parts:
        names = ", ".join(one.name for one in parts.values())
        hint = f"; {', '.join(others)} has no suffix of a known format" if others else ""
        raise ValueError(f"{tar}#{names}: no image belongs to it{hint}")
    paths = {role: member(tar, one.name, one.offset, one.size) for role, one in parts.items()}
    return Sample(key, paths["image"], paths.get("mask"), labels)
