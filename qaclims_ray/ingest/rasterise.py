"""Rasterise COCO instances to label maps."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from pycocotools import mask

from qaclims_ray.storage.files import read_ranges
from qaclims_ray.storage.paths import shown
from qaclims_ray.types import BACKGROUND, IGNORE, LabelMap

coco_mask: Any = mask  # its type stubs are wrong about frPyObjects

Crowds: TypeAlias = Literal["ignore", "class", "drop"]
"""How a crowd region is drawn: as `IGNORE`, as its class, or not at all."""
Overlap: TypeAlias = Literal["larger_first", "file_order"]
"""The order in which objects are drawn; the last lies on top."""

_CORNERS = 3
_MORE, _NEGATIVE = 32, 16
"""Signs in a byte of compressed run lengths: more of this number follows; it is negative."""


def refer_to(
    path: str,
    height: int,
    width: int,
    instances: Sequence[tuple[int, int, int]],
    *,
    crowds: Crowds = "ignore",
    overlap: Overlap = "larger_first",
) -> str:
    """Make a reference to the instances of one image, which stay in their file.

    Args:
        path: file of instances, local or remote.
        height: height of the image in pixels.
        width: width of the image in pixels.
        instances: (class index, offset, size) of each; its JSON lies there in the file.
        crowds: as in `rasterise`, as is `overlap`.
        overlap: see there.
    """
    about = {"file": path, "height": height, "width": width, "instances": instances}
    return json.dumps(about | {"crowds": crowds, "overlap": overlap}, separators=(",", ":"))


_MOST_PIXELS = 178_956_970
"""Largest image; Pillow's own limit, which `data.max_pixels` cannot exceed."""


def rasterise_reference(reference: str) -> LabelMap:
    """Rasterise the instances that `refer_to` refers to.

    Raises:
        ValueError: the file has changed since; or as in `rasterise`.
    """
    about = json.loads(reference)
    labels = [label for label, _, _ in about["instances"]]
    ranges = [(offset, size) for _, offset, size in about["instances"]]
    parts = read_ranges(about["file"], ranges) if ranges else []
    try:
        objects = [
            {**json.loads(part), "label": label} for part, label in zip(parts, labels, strict=True)
        ]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{shown(about['file'])} has changed since it was listed") from error
    how = {key: about[key] for key in ("height", "width", "crowds", "overlap")}
    try:
        return rasterise(objects, **how)
    except ValueError as error:
        raise ValueError(f"{shown(about['file'])}: {error}") from error


def has_outline(segmentation: Any) -> bool:
    """Tell whether a segmentation says which pixels an object covers, damaged or not.

    It does as run lengths, or as a list of polygons, each a list x, y, x, y, … in pixels. A box, no
    polygon at all, and corners in shares of the image or in another spelling say nothing.
    """
    match segmentation:
        case {"size": _, "counts": _}:
            return True
        case [*polygons] if all(isinstance(corners, list) for corners in polygons):
            numbers = [value for corners in polygons for value in corners]
            if not all(isinstance(value, (int, float)) for value in numbers):
                return False
            return any(len(one) >= 2 * _CORNERS for one in polygons) and max(numbers) > 1
        case _:
            return False


def rasterise(
    objects: Sequence[Mapping[str, Any]],
    *,
    height: int,
    width: int,
    crowds: Crowds = "ignore",
    overlap: Overlap = "larger_first",
) -> LabelMap:
    """Rasterise the instances of one image.

    Args:
        objects: `{"label", "iscrowd", "segmentation"}` of each; label is a class index,
            segmentation as in COCO: a list of polygons or a run-length code.
        height: height of the image in pixels.
        width: width of the image in pixels.
        crowds: `ignore` makes a crowd region `IGNORE`: it marks a group roughly, gaps included, and
            COCO's own evaluation doesn't count it either; `class` gives it its class; `drop`
            leaves it out.
        overlap: `larger_first` draws crowds first, then the objects from the largest to the
            smallest, so that a cup on a table stays visible and an object within a crowd keeps its
            class; `file_order` draws all as the file lists them.

    Raises:
        ValueError: a segmentation does not fit the image, or is damaged.
    """
    if height * width > _MOST_PIXELS:
        raise ValueError(f"{height} x {width} pixels are more than {_MOST_PIXELS:,}")
    # Run lengths, which take little memory, until it is their turn.
    regions = [
        (
            item.get("iscrowd") in (1, "1"),
            item["label"],
            _region(item["segmentation"], height, width),
        )
        for item in objects
    ]
    if overlap == "larger_first":
        regions.sort(key=lambda region: (not region[0], -_area(region[2])))
    label_map = np.full((height, width), BACKGROUND, np.uint8)
    for is_crowd, label, region in regions:
        if region is not None and not (is_crowd and crowds == "drop"):
            value = IGNORE if is_crowd and crowds == "ignore" else label + 1
            label_map[coco_mask.decode(region).astype(bool)] = value
    return label_map


def _area(region: Any) -> int:
    return 0 if region is None else int(coco_mask.area(region))


def _region(segmentation: Any, height: int, width: int) -> Any:
    """Run lengths of a segmentation as pycocotools has them; None where it has no pixel."""
    try:
        if isinstance(segmentation, dict):
            return _run_lengths(segmentation, height, width)
        # pycocotools takes fewer than three corners for a box.
        polygons = [corners for corners in segmentation if len(corners) >= 2 * _CORNERS]
        codes = [_polygon(corners, height, width) for corners in polygons]
    except (KeyError, TypeError) as error:
        raise ValueError(f"a segmentation is neither polygons nor run lengths: {error}") from error
    return coco_mask.merge(codes) if codes else None


def _polygon(corners: list[Any], height: int, width: int) -> Any:
    if len(corners) % 2:
        raise ValueError(f"a polygon has {len(corners)} numbers; x and y of each corner expected")
    # A corner far outside would make pycocotools allocate without bound.
    if not np.all(np.abs(corners) <= 2 * max(height, width)):
        raise ValueError(f"a polygon leaves the image of {height} x {width} pixels")
    return coco_mask.frPyObjects([corners], height, width)[0]


def _run_lengths(segmentation: dict[str, Any], height: int, width: int) -> Any:
    """Check lengths of runs, by columns: outside, inside, outside, and so on.

    pycocotools returns memory that it never wrote where runs do not fill the image.
    """
    size, counts = segmentation["size"], segmentation["counts"]
    if list(size) != [height, width]:
        raise ValueError(f"a region is {size} pixels in size, the image [{height}, {width}]")
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"the run lengths of a region do not fill {height} x {width} pixels")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def _uncompressed(code: str) -> list[int]:
    """Decode compressed run lengths (COCO's maskApi.c, `rleFrString`).

    Five bits a character, from the lowest; from the fourth number on, the difference to the number
    two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for character in code:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 2 * _MORE or shift > 60:
            raise ValueError(f"damaged run lengths of a region: {code[:20]!r}")
        value |= (bits & (_MORE - 1)) << shift
        shift += 5
        if bits & _MORE:
            continue
        if bits & _NEGATIVE:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"the run lengths of a region are cut off: {code[-20:]!r}")
    return runs
