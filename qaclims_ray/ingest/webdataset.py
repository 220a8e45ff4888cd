"""WebDataset: tars whose members belong together by the part of their names before the first dot.

    <key>.jpg                 the image (any usual suffix)
    <key>.cls                 its labels: class names or indices, several by commas or lines
    <key>.json                or JSON: {"labels": ["cat", 3]}, or a list
    <key>.txt                 or as .cls where it is asked for: most published tars hold captions
    <key>.mask.png            optional: its label map (or <key>.seg.png)

Images stay where they are: listing reads headers and labels only, and a source names its tar and
range of bytes. Of several files of labels the first counts, and no other is looked into. The tars
must be uncompressed. The row's name is the key, its slashes written as `__`; an image without
labels is left out, unless asked for. Labels or a mask without an image are recorded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from qaclims_ray.images.decode import SUFFIXES
from qaclims_ray.ingest.label_files import (
    by_name,
    check_no_one_hot,
    label_indices,
    resolve_names,
)
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.ingest.tar_members import Member, list_members, split_name
from qaclims_ray.storage.errors import Failures, attempt, separate
from qaclims_ray.storage.files import MissingFileError
from qaclims_ray.storage.listing import glob
from qaclims_ray.storage.paths import WEB, check_inside, member

LABEL_SUFFIXES = ("cls", "json")
"""Suffixes of labels, in the order in which they are looked for; all but JSON are read as `cls`."""
MASK_SUFFIXES = ("mask.png", "seg.png")

_THREADS = 8
"""Number of tars that are listed at once."""
_BRACES = re.compile(r"\{([^{}]*)\}")


class Sample(NamedTuple):
    """The members of one key."""

    key: str
    image: str
    """Path as `storage.files.read_bytes` takes it, as is the mask's."""
    mask: str | None
    labels: list[str] | None
    """Labels as written; None where the image is unlabelled."""


def read_webdataset(
    shards: Sequence[str],
    *,
    class_names: Sequence[str] | None = None,
    classes_file: str | None = None,
    label_suffixes: Sequence[str] = LABEL_SUFFIXES,
    unlabelled: bool = False,
) -> Listing:
    """List tars.

    Args:
        shards: paths or URLs, with `*` or braces (`train-{000..012}.tar`) or without.
        class_names: names in the order of their indices; default: those in `classes_file`, one
            per line, else the names among the labels, sorted.
        classes_file: path or URL.
        label_suffixes: members that hold labels, in the order in which they are looked for.
        unlabelled: list the images without labels too.

    Raises:
        ValueError: a tar is missing, compressed or no tar; the labels are columns of 1 and 0, or
            class indices without names. Errors of single images, and of tars
            that are cut off, are in `Listing.errors`.
    """
    tars = expand(shards)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda tar: attempt(_list_tar, tar, label_suffixes), tars))
    listed, broken = separate(zip(tars, found, strict=True))
    fatal = [one for one in found if isinstance(one, MissingFileError) or not listed]
    if fatal and isinstance(fatal[0], ValueError):
        raise fatal[0]
    samples = [sample for one, _ in listed for sample in one]
    errors = [*broken, *(error for _, some in listed for error in some)]
    check_no_one_hot([sample.labels for sample in samples if sample.labels is not None])
    labels = {label for sample in samples for label in sample.labels or ()}
    names = resolve_names(labels, class_names, classes_file)
    indices = by_name(names)
    taken = [sample for sample in samples if unlabelled or sample.labels is not None]
    sources, unusable = separate(
        (sample.image, attempt(_source, sample, indices)) for sample in taken
    )
    sources, repeated = first_of_each_name(sources)
    return Listing(sources, errors + unusable + repeated, names, len(samples) - len(taken))


def expand(patterns: Iterable[str]) -> list[str]:
    """Expand patterns to the tars that match them, each once.

    Raises:
        ValueError: no file matches a pattern.
    """
    tars: dict[str, None] = {}
    for pattern in chain.from_iterable(map(_expand_braces, patterns)):
        wild = "*" if pattern.startswith(WEB) else "*?["  # a URL may have a query
        found = glob(pattern) if any(sign in pattern for sign in wild) else [pattern]
        if not found:
            raise ValueError(f"{pattern}: no such tars")
        tars |= dict.fromkeys(found)
    return list(tars)


def _expand_braces(pattern: str) -> list[str]:
    """Expand `{000..012}` and `{a,b}` as a shell does."""
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    choices = found[1].split(",")
    if ends is not None:
        numbers = range(int(ends[1]), int(ends[2]) + 1)
        choices = [str(number).zfill(len(ends[1])) for number in numbers]
    tails = _expand_braces(pattern[found.end() :])
    return [f"{pattern[: found.start()]}{choice}{tail}" for choice in choices for tail in tails]


def _list_tar(tar: str, label_suffixes: Sequence[str]) -> tuple[list[Sample], Failures]:
    """List the samples of a tar in their order; members and keys that cannot be used fail."""
    members, errors = list_members(tar, label_suffixes)
    samples: dict[str, dict[str, Member]] = {}
    others: dict[str, list[str]] = {}
    for one in members:
        key, suffix = split_name(one.name)
        role = _role(suffix, label_suffixes)
        reason = _objection(one, suffix, role, samples.get(key, {}).get(role))
        if reason is not None:
            errors.append((f"{tar}#{one.name} (byte {one.offset})", f"{tar}#{one.name}: {reason}"))
        elif role:
            samples.setdefault(key, {})[role] = one
        else:
            others.setdefault(key, []).append(one.name)
    listed, unusable = separate(
        (f"{tar}#{key}", attempt(_sample, tar, key, parts, others.get(key, []), label_suffixes))
        for key, parts in samples.items()
    )
    return listed, errors + unusable


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


def _source(sample: Sample, indices: Mapping[str, int]) -> Source:
    return Source(
        name=sample.key.replace("/", "__"),
        image=sample.image,
        labels=None if sample.labels is None else label_indices(sample.labels, indices),
        mask=sample.mask,
        annotations=None,
    )
