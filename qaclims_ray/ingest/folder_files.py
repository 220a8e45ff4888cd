"""Which files below a folder are images and label maps, and which of them a line means."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from unicodedata import normalize

from qaclims_ray.images.decode import SUFFIXES
from qaclims_ray.ingest.label_files import Line
from qaclims_ray.storage.listing import existing
from qaclims_ray.storage.paths import WEB, check_inside, join

URL_SCHEMES = (*WEB, "s3://", "gs://")
"""Schemes that an image's address may have; local files are read below the root only."""


def images_by_spelling(files: Iterable[str]) -> dict[str, list[str]]:
    """Map the spellings that a line may use, with and without suffix, to the paths they fit."""
    full: dict[str, list[str]] = {}
    pictures: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for file in files:
        if file.startswith("images/"):
            spelling = normalize("NFC", file.removeprefix("images/"))
            full.setdefault(spelling, []).append(file)
            stems = pictures if _is_picture(file) else others
            stems.setdefault(stem(spelling), []).append(file)
    return others | pictures | full


def images_in(files: Iterable[str]) -> set[str]:
    """Return the files below `images` but for those that lie beside a picture of their name."""
    images = {file for file in files if file.startswith("images/")}
    pictures = set(filter(_is_picture, images))
    named = pictures | {stem(file) for file in pictures}
    return pictures | {file for file in images if stem(file) not in named}


def _is_picture(path: str) -> bool:
    return os.path.splitext(path)[1].lower().removeprefix(".") in SUFFIXES


def image_path(image: str, images: Mapping[str, Sequence[str]] | None) -> str:
    """Return the path or URL of the image that a line means.

    Args:
        image: what the line writes.
        images: paths that each spelling fits; None where they cannot be listed.

    Raises:
        ValueError: no image has this name, or more than one.
    """
    if image.startswith(URL_SCHEMES):
        if not relative_path(image):
            raise ValueError(f"{image} names no file")
        return image
    if images is None:
        return f"images/{check_inside(image)}"
    paths = images.get(normalize("NFC", image), ())
    if not paths:
        raise ValueError(f"no image {image!r} in the folder images")
    if len(paths) > 1:
        raise ValueError(f"{image!r} fits {' and '.join(paths)}: write its suffix")
    return paths[0]


def find_masks(
    root: str, files: Collection[str], lines_of: Mapping[str, Iterable[Line]]
) -> dict[str, str | None]:
    """Find the label map of each image: the one that a line gives, or the one of its own name."""
    own = {path: _own_mask(path) for path in lines_of}
    if root.startswith(WEB):
        found = existing([join(root, mask) for mask in own.values()])
        there = {mask for mask in own.values() if join(root, mask) in found}
    else:
        there = set(own.values()).intersection(files)
    return {
        path: next(
            (line.mask for line in about if line.mask),
            own[path].removeprefix("masks/") if own[path] in there else None,
        )
        for path, about in lines_of.items()
    }


def unused_masks(files: Collection[str], named: Iterable[str | None]) -> tuple[str, ...]:
    """Warn of files in the folder `masks` that belong to no image."""
    masks = {file for file in files if file.startswith("masks/")}
    own = {_own_mask(image) for image in images_in(files)}
    unused = sorted(masks - own - {f"masks/{mask}" for mask in named})
    if not unused:
        return ()
    return (
        f"{len(unused):,} of {len(masks):,} files in the folder masks belong to no image, as "
        f"{', '.join(unused[:3])}: masks/a.png belongs to images/a.jpg; a column mask names others",
    )


def _own_mask(image: str) -> str:
    return f"masks/{stem(relative_path(image))}.png"


def relative_path(path: str) -> str:
    """Return an image's path below `images`, or the last part of its URL."""
    if path.startswith(URL_SCHEMES):
        return path.partition("?")[0].rpartition("/")[2]
    return path.removeprefix("images/")


def stem(path: str) -> str:
    """Return a path without its suffix."""
    return os.path.splitext(path)[0]
