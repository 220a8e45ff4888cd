"""The listing that every reader returns, and the loading of one of its images.

A reader (`voc12`, `coco14`, `folder`, `webdataset`) lists a data set without opening an image;
`load` then opens one image, so that the work spreads over processes and a broken file costs its
own row only.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import numpy as np

from qaclims_ray.images.decode import (
    MAX_PIXELS,
    decode,
    decode_mask,
    encode_jpeg,
    encode_mask,
    orient,
    orientation,
)
from qaclims_ray.images.transforms import shrink
from qaclims_ray.ingest.annotated import draw_file, is_of_a_file
from qaclims_ray.ingest.rasterise import rasterise_reference
from qaclims_ray.storage.errors import Failures
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.storage.filesystem import is_transient
from qaclims_ray.storage.paths import check_text, shown
from qaclims_ray.types import IGNORE, ImageRow, LabelMap

Read: TypeAlias = Callable[[str], bytes]
"""Path or URL of a file, or of a member of a tar, to its content; errors as in `read_bytes`."""


class Source(TypedDict):
    """Where one image, its labels and its ground truth are."""

    name: str
    image: str
    """Path or URL of the file, or of a member of a tar (see `storage.paths.member`)."""
    labels: list[int] | None
    """Class indices, sorted, unique; None where the image is unlabelled."""
    mask: str | None
    """Path or URL of a label-map PNG."""
    annotations: str | None
    """Reference to the instances that the mask is rasterised from (see `rasterise.refer_to`), or to
    the file of a label tool (see `annotated.refer_to_file`)."""


class MaskError(ValueError):
    """A mask is of no use; its image is."""


@dataclass(frozen=True)
class Listing:
    """A data set, listed."""

    sources: Collection[Source]
    """Sorted by name unless they are a list."""
    errors: Failures
    """Images that had to be left out; no name twice, none of a source."""
    class_names: tuple[str, ...]
    num_unlabelled: int = 0
    """Images left out because they are unlabelled."""
    warnings: tuple[str, ...] = ()
    """What people should know of the whole set."""


def load(
    source: Source,
    *,
    num_classes: int,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    read: Read = read_bytes,
) -> ImageRow:
    """Load one image as a row: its bytes unchanged, its size as a viewer shows it, its mask.

    An image beyond `max_side` is encoded anew, reduced; size and mask stay those of the file.

    A mask belongs to the image as a viewer shows it. If it fits only the stored pixels of an
    image that its EXIF orientation turns by 90 degrees, it is turned along.

    Args:
        source: what a reader listed.
        num_classes: labels run to `num_classes - 1`, mask values to `num_classes` or `IGNORE`.
        max_pixels: largest image that is decoded.
        max_side: longest side of what is kept, in pixels; None keeps all as it is.
        read: reads the files of image and mask.

    Raises:
        MaskError: the mask is bad, all else is well.
        ValueError: the reason why this image cannot be used, for its line in `_errors`.
    """
    labels = None if source["labels"] is None else sorted(set(source["labels"]))
    if labels and not 0 <= labels[0] <= labels[-1] < num_classes:
        raise ValueError(f"labels {labels} are not all in 0 to {num_classes - 1}")
    image = read(source["image"])
    try:
        pixels = decode(image, max_pixels=max_pixels)
    except ValueError as error:
        raise ValueError(f"{shown(source['image'])}: {error}") from error
    height, width, _ = pixels.shape
    limits = {"num_classes": num_classes, "max_pixels": max_pixels}
    mask = load_mask(source, image, (height, width), **limits, read=read)
    return ImageRow(
        name=source["name"],
        image=image if (kept := shrink(pixels, max_side)) is pixels else encode_jpeg(kept),
        height=height,
        width=width,
        labels=labels,
        mask=None if mask is None else encode_mask(mask),
    )


def load_mask(
    source: Source,
    image: bytes,
    size: tuple[int, int],
    *,
    num_classes: int,
    max_pixels: int,
    read: Read = read_bytes,
) -> LabelMap | None:
    """Load the mask of an image, None where it has none; arguments as for `load`.

    Args:
        source: what a reader listed.
        image: the image's file.
        size: its height and width, as a viewer shows it.
        num_classes: see `load`.
        max_pixels: see `load`.
        read: see `load`.

    Raises:
        MaskError: the mask is missing or broken, of another size, or has illegal values.
    """
    given = source["mask"], source["annotations"]
    try:
        mask = drawn_mask(*given, size, max_pixels, read)
        if mask is None:
            return None
        if mask.shape == size[::-1] != size:
            mask = orient(mask, orientation(image))
        check_mask(mask, size, num_classes, where_of(*given))
    except ValueError as error:
        if isinstance(error.__cause__, Exception) and is_transient(error.__cause__):
            raise
        raise MaskError(str(error)) from error
    return mask


def drawn_mask(
    mask: str | None, annotations: str | None, size: tuple[int, int], max_pixels: int, read: Read
) -> LabelMap | None:
    """Decode or draw a mask, as its file has it; None where there is none.

    Args:
        mask: see `Source`.
        annotations: see there.
        size: height and width of its image, for files that do not know them.
        max_pixels: largest mask that is decoded.
        read: reads the file of a mask.

    Raises:
        ValueError: it is missing or broken.
    """
    if annotations is not None:
        draws_file = is_of_a_file(annotations)
        return draw_file(annotations, size) if draws_file else rasterise_reference(annotations)
    if mask is None:
        return None
    png = read(mask)
    try:
        return decode_mask(png, max_pixels=max_pixels)
    except ValueError as error:
        raise ValueError(f"{shown(mask)}: {error}") from error


def where_of(mask: str | None, annotations: str | None) -> str:
    """Name the file of a mask, for people."""
    return shown((mask or "") if annotations is None else json.loads(annotations)["file"])


def check_mask(mask: LabelMap, size: tuple[int, int], num_classes: int, where: str) -> None:
    """Check that a mask fits its image and the classes.

    Raises:
        ValueError: it is of another size, or has illegal values.
    """
    if mask.shape != size:
        raise ValueError(
            f"{where}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels wide and high, "
            f"its image {size[1]} x {size[0]}"
        )
    values = np.unique(mask)
    wrong = values[(values > num_classes) & (values != IGNORE)]
    if wrong.size:
        raise ValueError(
            f"{where}: mask value {', '.join(map(str, wrong[:5]))} is illegal; legal are "
            f"0 (background), 1 to {num_classes} (class index + 1) and {IGNORE} (ignored)"
        )


def first_of_each_name(sources: list[Source]) -> tuple[list[Source], Failures]:
    """Keep the first source of each name; the others fail, named with their position."""
    kept: dict[str, Source] = {}
    failures: Failures = []
    for position, source in enumerate(sources, start=1):
        first = kept.setdefault(source["name"], source)
        if first is not source:
            failures.append(taken(source, position, first))
    return list(kept.values()), failures


def taken(source: Source, position: int, first: Source) -> tuple[str, str]:
    """Return name and reason of the failure of a source whose name another one has."""
    name = source["name"]
    reason = f"{source['image']}: the name {name!r} is taken by {first['image']}"
    return f"{name} (image {position})", reason


def check_texts(source: Source) -> Source:
    """Return a source whose texts tables can hold.

    Raises:
        ValueError: one is not UTF-8.
    """
    for text in (source["name"], source["image"], source["mask"], source["annotations"]):
        check_text(text or "")
    return source
