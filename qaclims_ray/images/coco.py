"""Label maps as annotations of the COCO format."""

from typing import Any, TypedDict

import numpy as np
from pycocotools import mask

from qaclims_ray.types import BACKGROUND, IGNORE, LabelMap

_coco: Any = mask  # its type stubs lack the bytes of run-length codes


class RunLengths(TypedDict):
    """Runs of equal pixels, column by column, beginning with those outside the region."""

    size: list[int]
    """Height and width."""
    counts: str
    """Lengths of the runs, as COCO's tools compress them."""


class Region(TypedDict):
    """All pixels of one class in one image, under the keys that an annotation has in COCO."""

    category_id: int
    """Value of the label map: class index + 1."""
    segmentation: RunLengths
    bbox: list[float]
    """Left, top, width and height in pixels."""
    area: int
    """Number of pixels."""
    iscrowd: int
    """0."""


def coco_regions(label_map: LabelMap) -> list[Region]:
    """Encode the pixels of each class, in the order of classes; background and `IGNORE` are none.

    Format: https://cocodataset.org/#format-data.
    """
    values = [v for v in np.unique(label_map).tolist() if v not in (BACKGROUND, IGNORE)]
    if not values:
        return []
    binary = np.asfortranarray(label_map[..., None] == np.array(values, np.uint8), np.uint8)
    codes = _coco.encode(binary)
    boxes, areas = _coco.toBbox(codes).tolist(), _coco.area(codes).tolist()
    return [
        Region(
            category_id=value,
            segmentation=RunLengths(size=code["size"], counts=code["counts"].decode()),
            bbox=box,
            area=area,
            iscrowd=0,
        )
        for value, code, box, area in zip(values, codes, boxes, areas, strict=True)
    ]
