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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from qaclims_ray.ingest.label_files import (
    by_name,
    check_no_one_hot,
    label_indices,
    resolve_names,
)
from qaclims_ray.ingest.sorted_sources import SortedSources
from qaclims_ray.ingest.sources import Listing, Source
from qaclims_ray.ingest.tar_samples import Sample, TarSamples
from qaclims_ray.storage.errors import Failures, attempt
from qaclims_ray.storage.listing import glob
from qaclims_ray.storage.paths import WEB

LABEL_SUFFIXES = ("cls", "json")
"""Suffixes of labels, in the order in which they are looked for; all but JSON are read as `cls`."""
_BRACES = re.compile(r"\{([^{}]*)\}")


def read_webdataset(
    shards: Sequence[str],
    *,
    class_names: Sequence[str] | None = None,
    classes_file: str | None = None,
    label_suffixes: Sequence[str] = LABEL_SUFFIXES,
    unlabelled: bool = False,
    masks: bool = True,
) -> Listing:
    """List tars; some of what they hold is in memory at a time (see `sorting.RowSorter`).

    Args:
        shards: paths or URLs, with `*` or braces (`train-{000..012}.tar`) or without.
        class_names: names in the order of their indices; default: those in `classes_file`, one
            per line, else the names among the labels, sorted.
        classes_file: path or URL.
        label_suffixes: members that hold labels, in the order in which they are looked for.
        unlabelled: list the images without labels too.
        masks: list masks too.

    Raises:
        ValueError: a tar is missing, compressed or no tar; the labels are columns of 1 and 0, or
            class indices without names. Errors of single images, and of tars
            that are cut off, are in `Listing.errors`.
    """
    samples = TarSamples(expand(shards), label_suffixes)
    check_no_one_hot(samples.numbers_of_labels, samples.labels)
    names = resolve_names(samples.labels, class_names, classes_file)
    indices = by_name(names)
    unusable: Failures = []

    def taken() -> Iterator[Source]:
        for sample in samples:
            if unlabelled or sample.labels is not None:
                source = attempt(_source, sample, indices, masks)
                if isinstance(source, ValueError):
                    unusable.append((sample.image, str(source)))
                else:
                    yield source

    sources = SortedSources(taken())
    return Listing(
        sources,
        [*samples.errors, *unusable, *sources.errors],
        names,
        0 if unlabelled else samples.num_unlabelled,
    )


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


def _source(sample: Sample, indices: Mapping[str, int], masks: bool) -> Source:
    return Source(
        name=sample.key.replace("/", "__"),
        image=sample.image,
        labels=None if sample.labels is None else label_indices(sample.labels, indices),
        mask=sample.mask if masks else None,
        annotations=None,
    )
