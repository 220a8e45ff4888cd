"""Label maps as the text files of YOLO's segmentation: a line for each part.

    3 0.25 0.1 0.5 0.1 0.5 0.4 …      class index, then x and y of each corner, shares of the sides

Format: https://docs.ultralytics.com/datasets/segment. It has neither holes, which are joined to
their outlines (see `polygons`), nor undecided pixels: those of `IGNORE` belong to no line.
"""

from collections.abc import Sequence

import numpy as np

from qaclims_ray.images.polygons import fill, trace
from qaclims_ray.types import BACKGROUND, IGNORE, LabelMap

_DIGITS = 6
_CORNERS = 3
_BOX = 5
"""Numbers in a line that holds a box."""


def yolo_lines(label_map: LabelMap) -> str:
    """Write the parts of each class, in the order of classes; an image without any has no line."""
    sides = np.array(label_map.shape[::-1])
    values = [v for v in np.unique(label_map).tolist() if v not in (BACKGROUND, IGNORE)]
    return "".join(
        f"{value - 1} {' '.join(f'{share:.{_DIGITS}g}' for share in (corners / sides).ravel())}\n"
        for value in values
        for corners in trace(label_map == value)
    )


def read_yolo(text: str, size: tuple[int, int], num_classes: int) -> LabelMap:
    """Draw the label map of a file, the last line on top.

    Args:
        text: Content of the file.
        size: Height and width of the image.
        num_classes: Background excluded.

    Raises:
        ValueError: a line is no polygon of a class.
    """
    label_map = np.full(size, BACKGROUND, np.uint8)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                label, corners = _polygon(line.split(), num_classes)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            label_map[fill(corners * np.array(size[::-1]), size)] = label + 1
    return label_map


def _polygon(words: Sequence[str], num_classes: int) -> tuple[int, np.ndarray]:
    if len(words) == _BOX:
        raise ValueError("4 numbers are a box, which says not which pixels an object covers")
    if len(words) < 1 + 2 * _CORNERS or len(words) % 2 == 0:
        raise ValueError(
            f"{len(words)} words: expected a class index, then x and y of 3 corners or more"
        )
    label, corners = int(words[0]), np.array([float(word) for word in words[1:]]).reshape(-1, 2)
    if not 0 <= label < num_classes:
        raise ValueError(f"class index {label} is not in 0 to {num_classes - 1}")
    if not np.all(np.abs(corners - 0.5) <= 1.5):  # nan too
        raise ValueError("corners are shares of width and height, from 0 to 1")
    return label, corners
