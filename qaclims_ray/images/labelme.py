"""Label maps as LabelMe's JSON: one file for each image, one shape for each part.

Format: https://github.com/wkentaro/labelme. Holes are joined to their outlines (see `polygons`);
undecided pixels are shapes of the label `__ignore__`, as in LabelMe's own examples.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.polygons import Region, fill, trace
from qaclims_ray.types import BACKGROUND, IGNORE, LabelMap

IGNORED, BACKGROUND_LABEL = "__ignore__", "_background_"
"""Labels that stand for no class."""
_VERSION = "5.5.0"
"""Version of the format that is written."""
_CIRCLE_CORNERS = 64


def labelme_json(label_map: LabelMap, class_names: Sequence[str], image_file: str) -> str:
    """Write a label map.

    Args:
        label_map: Values up to the number of classes, or `IGNORE`.
        class_names: In the order of their indices.
        image_file: Path of the image, as seen from the folder of the JSON file.
    """
    called = dict(enumerate(class_names, 1)) | {IGNORE: IGNORED}
    shapes = [
        {
            "label": called[value],
            "points": corners.tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for value in np.unique(label_map).tolist()
        if value != BACKGROUND
        for corners in trace(label_map == value)
    ]
    height, width = label_map.shape
    about = {"version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": image_file}
    size = {"imageData": None, "imageHeight": height, "imageWidth": width}
    return json.dumps({**about, **size}, ensure_ascii=False)


def read_labelme(text: str, class_names: Sequence[str]) -> LabelMap:
    """Draw the label map of a file, the last shape on top, as LabelMe's own converters do.

    Polygons, rectangles, circles and masks are read; lines and points cover nothing.

    Raises:
        ValueError: it is no file of LabelMe, or a shape has an unknown label or kind.
    """
    match _parsed(text):
        case {"shapes": list(shapes), "imageHeight": int(height), "imageWidth": int(width)}:
            pass
        case _:
            raise ValueError("no file of LabelMe: it lacks shapes, imageHeight or imageWidth")
    values = {name: index for index, name in enumerate(class_names, 1)}
    values |= {IGNORED: IGNORE, BACKGROUND_LABEL: BACKGROUND}
    label_map = np.full((height, width), BACKGROUND, np.uint8)
    for number, shape in enumerate(shapes, 1):
        try:
            label = shape["label"]
            if label not in values:
                raise ValueError(f"{label!r} is no class; classes are {', '.join(class_names)}")
            label_map[_region(shape, (height, width))] = values[label]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"shape {number}: {error}") from error
    return label_map


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no file of LabelMe: {error}") from error


def _region(shape: dict[str, Any], size: tuple[int, int]) -> Region:
    kind, points = shape.get("shape_type", "polygon"), _points(shape["points"], size)
    if kind == "polygon" and len(points) > 2:
        return fill(points, size)
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return fill(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), size)
    if kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
        radius = np.linalg.norm(points[1] - points[0])
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return fill(points[0] + radius * around, size)
    if kind == "mask" and len(points) == 2:
        return _pasted(shape["mask"], points, size)
    raise ValueError(
        f"a {kind} of {len(points)} points covers no pixels: draw polygons, rectangles, circles or "
        "masks"
    )


def _points(points: Any, size: tuple[int, int]) -> Float[np.ndarray, "_ 2"]:
    found = np.array(points, float).reshape(-1, 2)
    if not np.all(np.abs(found) <= 2 * max(size)):  # nan too
        raise ValueError(f"a corner lies far outside the image of {size[1]} x {size[0]} pixels")
    return found


def _pasted(png: str, corners: Float[np.ndarray, "2 2"], size: tuple[int, int]) -> Region:
    """Put the mask of a shape, a PNG, to the box that it is cut out of."""
    mask = decode_mask(base64.b64decode(png)) > 0
    left, top = corners[0].astype(int).tolist()
    region = np.zeros(size, bool)
    place = region[top : top + mask.shape[0], left : left + mask.shape[1]]
    if left < 0 or top < 0 or place.shape != mask.shape:
        raise ValueError(f"its mask of {mask.shape[1]} x {mask.shape[0]} pixels leaves the image")
    place[:] = mask
    return region
