"""Rasterise COCO instances to label maps."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask

from qaclims_ray.storage.files import read_ranges
from qaclims_ray.storage.paths import shown
from qaclims_ray.types import BACKGROUND, IGNORE, LabelMap

coco_mask: Any = mask  # its type stubs are wrong about frPyObjects


def refer_to(path: str, height: int, width: int, instances: Sequence[tuple[int, int, int]]) -> str:
    """Make a reference to the instances of one image, which stay in their file.

    Args:
        path: file of instances, local or remote.
        height: height of the image in pixels.
        width: width of the image in pixels.
        instances: (class index, offset, size) of each; its JSON lies there in the file.
    """
    about = {"file": path, "height": height, "width": width, "instances": instances}
    return json.dumps(about, separators=(",", ":"))


_MOST_PIXELS = 178_956_970
"""Of an image; Pillow's own limit, which `data.max_pixels` cannot exceed."""


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
    return rasterise(objects, height=about["height"], width=about["width"])


def rasterise(objects: Sequence[Mapping[str, Any]], *, height: int, width: int) -> LabelMap:
    """Rasterise the instances of one image.

    Crowd regions are painted first, then the objects from the largest to the smallest, so that a
    cup on a table stays visible and an object within a crowd keeps its class. A crowd region
    becomes `IGNORE`: it marks a group roughly, gaps included, and COCO's own evaluation doesn't
    count it either.

    Args:
        objects: `{"label", "iscrowd", "segmentation"}` of each; label is a class index,
            segmentation as in COCO: a list of polygons or a run-length code.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Raises:
        ValueError: a segmentation does not fit the image.
    """
    if height * width > _MOST_PIXELS:
        raise ValueError(f"{height} x {width} pixels are more than {_MOST_PIXELS:,}")
    label_map = np.full((height, width), BACKGROUND, np.uint8)
    # Run lengths, which take little memory, until it is their turn.
    regions = [
        (not item.get("iscrowd"), item["label"], _region(item["segmentation"], height, width))
        for item in objects
    ]
    for no_crowd, label, region in sorted(regions, key=lambda o: (o[0], -_area(o[2]))):
        if region is not None:
            label_map[coco_mask.decode(region).astype(bool)] = label + 1 if no_crowd else IGNORE
    return label_map


def _area(region: Any) -> int:
    return 0 if region is None else int(coco_mask.area(region))


def _region(segmentation: Any, height: int, width: int) -> Any:
    """Run lengths of a segmentation as pycocotools has them; None where it has no pixel."""
    try:
        if isinstance(segmentation, dict):
            codes = [_run_lengths(segmentation, height, width)]
        else:
            # pycocotools takes fewer than three corners for a box.
            polygons = [corners for corners in segmentation if len(corners) >= 6]
            codes = [_polygon(corners, height, width) for corners in polygons]
    except (KeyError, TypeError) as error:
        raise ValueError(f"a segmentation is neither polygons nor run lengths: {error}") from error
    return coco_mask.merge(codes) if codes else None


def _polygon(corners: list[Any], height: int, width: int) -> Any:
    # A corner far outside would make pycocotools allocate without bound.
    if not np.all(np.abs(corners) <= 2 * max(height, width)):
        raise ValueError(f"a polygon leaves the image of {height} x {width} pixels")
    return coco_mask.frPyObjects([corners], height, width)[0]


def _run_lengths(segmentation: dict[str, Any], height: int, width: int) -> Any:
    size, counts = segmentation["size"], segmentation["counts"]
    if list(size) != [height, width]:
        raise ValueError(f"a region is {size} pixels in size, the image [{height}, {width}]")
    if isinstance(counts, str):
        return {"size": size, "counts": counts.encode()}
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"the run lengths of a region do not fill {height} x {width} pixels")
    return coco_mask.frPyObjects(segmentation, height, width)
