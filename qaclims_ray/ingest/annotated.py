"""Read label maps from files of label tools: LabelMe's JSON and YOLO's text files."""

import json
from collections.abc import Sequence

import numpy as np

from qaclims_ray.images.labelme import read_labelme
from qaclims_ray.images.yolo import read_yolo
from qaclims_ray.storage.files import read_text
from qaclims_ray.storage.paths import shown
from qaclims_ray.types import BACKGROUND, LabelMap

LABELME, YOLO = ".json", ".txt"
"""Ends of the names of their files."""
_CLASSES = "classes"


def refer_to_file(file: str, class_names: Sequence[str], values: Sequence[int]) -> str:
    """Make a reference to the file of one image, which stays where it is.

    Args:
        file: Path or URL.
        class_names: Of the data set, by which LabelMe's files call their shapes.
        values: The mask value of each class index that YOLO's files write.
    """
    return json.dumps({"file": file, _CLASSES: list(class_names), "values": list(values)})


def is_of_a_file(reference: str) -> bool:
    """Tell whether `refer_to_file` made a reference."""
    return _CLASSES in json.loads(reference)


def draw_file(reference: str, size: tuple[int, int]) -> LabelMap:
    """Draw the label map of a file.

    Args:
        reference: From `refer_to_file`.
        size: Height and width of the image, which YOLO's files do not know.

    Raises:
        ValueError: the file is gone, broken, or of other classes.
    """
    about = json.loads(reference)
    file, values = about["file"], about["values"]
    try:
        text = read_text(file, "outlines")
        if file.endswith(LABELME):
            return read_labelme(text, about[_CLASSES])
        own = read_yolo(text, size, len(values))
        return np.array([BACKGROUND, *values], np.uint8)[own]
    except ValueError as error:
        raise ValueError(f"{shown(file)}: {error}") from error
