"""WebDataset: tars whose members belong together by the part of their names before the first dot.

    <key>.jpg                 the image (any usual suffix)
    <key>.cls                 its labels: class names or indices, several by commas or lines
    <key>.json                or JSON: {"labels": ["cat", 3]}, or a list
    <key>.txt                 or as .cls where it is asked for: most published tars hold captions
    <key>.mask.png            optional: its label map (or <key>.seg.png)

Images stay where they are: listing reads headers and labels only, and a source names its tar and
range of bytes. Of several files of labels the first counts. The tars must be uncompressed. The
row's name is the key, its slashes written as `__`; an image without labels is left out, unless
asked for.
"""

import re
import tarfile
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from qaclims_ray.ingest.label_files import label_indices, parse_labels, resolve_names
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.storage.errors import Failures, attempt, separate
from qaclims_ray.storage.files import Stream, glob, open_stream, read_ranges
from qaclims_ray.storage.paths import WEB, check_inside, member

IMAGE_SUFFIXES = frozenset(
    ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2")
)
LABEL_SUFFIXES = ("cls", "json")
"""Suffixes of labels, in the order in which they are looked for; all but JSON are read as `cls`."""
MASK_SUFFIXES = ("mask.png", "seg.png")

_LONGEST_LABELS = 1 << 20
"""Most bytes of a file of labels."""
_THREADS = 8
"""Number of tars that are listed at once."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_HEADER = 512


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
        ValueError: a tar is missing, compressed or no tar. Errors of single images, and of tars
            that are cut off, are in `Listing.errors`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = list(pool.map(lambda tar: _list_tar(tar, label_suffixes), expand(shards)))
    samples = [sample for one, _ in listed for sample in one]
    errors = [error for _, some in listed for error in some]
    labels = {label for sample in samples for label in sample.labels or ()}
    names = resolve_names(labels, class_names, classes_file)
    taken = [sample for sample in samples if unlabelled or sample.labels is not None]
    sources, unusable = separate(
        (sample.image, attempt(_source, sample, names)) for sample in taken
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


class _Member(NamedTuple):
    name: str
    offset: int
    size: int
    labels: list[str] | ValueError | None
    """Labels of a member that holds some."""


def _list_tar(tar: str, label_suffixes: Sequence[str]) -> tuple[list[Sample], Failures]:
    """List the samples of a tar in their order; members that cannot be used fail."""
    members, errors = _members(tar, label_suffixes)
    samples: dict[str, dict[str, _Member]] = {}
    for one in members:
        key, suffix = _split(one.name)
        role = _role(suffix, label_suffixes)
        reason = _objection(one, suffix, samples.get(key, {}).get(role))
        if reason is not None:
            errors.append((f"{tar}#{one.name} (byte {one.offset})", f"{tar}#{one.name}: {reason}"))
        elif role:
            samples.setdefault(key, {})[role] = one
    whole = {key: parts for key, parts in samples.items() if "image" in parts}
    return [_sample(tar, key, parts, label_suffixes) for key, parts in whole.items()], errors


def _members(tar: str, label_suffixes: Sequence[str]) -> tuple[list[_Member], Failures]:
    """List the files in a tar up to where it is damaged."""
    read_ranges(tar, [(0, _HEADER)])  # fail now where parts of it cannot be read later
    members: list[_Member] = []
    with open_stream(tar) as file, _open(tar, file) as archive:
        try:
            for info in archive:
                if info.isreg() and not info.issparse():
                    # One by one, as an error keeps those before it.
                    members.append(_read_member(archive, info, label_suffixes))  # noqa: PERF401
            file.seek(archive.offset)
            damage = "no header" if file.read(_HEADER).strip(b"\0") else None
        except tarfile.ReadError as error:
            damage = str(error)
        where = archive.offset
    if damage is None:
        return members, []
    return members, [(tar, f"{tar}: damaged or cut off at byte {where:,} ({damage})")]


def _open(tar: str, file: Stream) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except tarfile.ReadError as error:
        raise ValueError(
            f"{tar}: no tar, or a compressed one ({error}); images are read from within, so unpack "
            ".tar.gz and the like to .tar"
        ) from error


def _read_member(
    archive: tarfile.TarFile, info: tarfile.TarInfo, label_suffixes: Sequence[str]
) -> _Member:
    suffix = _split(info.name)[1]
    labels: list[str] | ValueError | None = None
    if suffix in label_suffixes:
        labels = ValueError(f"{info.size:,} bytes are too many for labels")
        content = archive.extractfile(info) if info.size <= _LONGEST_LABELS else None
        if content is not None:
            labels = attempt(parse_labels, content.read(), is_json=suffix == "json")
    return _Member(info.name.removeprefix("./"), info.offset_data, info.size, labels)


def _split(name: str) -> tuple[str, str]:
    """Split a name into key and suffix, at the first dot of its last part."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _role(suffix: str, label_suffixes: Sequence[str]) -> str:
    """Return what a member is: `image`, `mask`, a suffix of labels, or empty for other files."""
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "mask" if suffix in MASK_SUFFIXES else suffix if suffix in label_suffixes else ""


def _objection(one: _Member, suffix: str, other: _Member | None) -> str | None:
    """Return why a member cannot be used, None if it can."""
    inside = attempt(check_inside, one.name)
    if isinstance(inside, ValueError):
        return str(inside)
    if isinstance(one.labels, ValueError):
        return str(one.labels)
    if other is not None:
        return f"{other.name} is there already for the same purpose"
    if suffix not in MASK_SUFFIXES and suffix.rpartition(".")[2] in IMAGE_SUFFIXES - {suffix}:
        return f"unknown suffix {suffix!r}: keys of WebDataset end at the first dot"
    return None


def _sample(tar: str, key: str, parts: dict[str, _Member], label_suffixes: Sequence[str]) -> Sample:
    paths = {role: member(tar, one.name, one.offset, one.size) for role, one in parts.items()}
    found = [parts[suffix].labels for suffix in label_suffixes if suffix in parts]
    labels = found[0] if found and isinstance(found[0], list) else None
    return Sample(key, paths["image"], paths.get("mask"), labels)


def _source(sample: Sample, names: Collection[str]) -> Source:
    return Source(
        name=sample.key.replace("/", "__"),
        image=sample.image,
        labels=None if sample.labels is None else label_indices(sample.labels, list(names)),
        mask=sample.mask,
        annotations=None,
    )
