"""Rows with the label map of an image."""

import numpy as np

from qaclims_ray.images.decode import decode_mask, encode_mask
from qaclims_ray.images.transforms import NEAREST, resize
from qaclims_ray.types import IGNORE, LabelMap, LabelMapRow

MAX_CLASSES = IGNORE - 1
"""Label maps hold so many classes at most, beside the background and `IGNORE`."""


def label_map_row(
    name: str, label_map: LabelMap, size: tuple[int, int] | None = None
) -> LabelMapRow:
    """Encode a label map as a row.

    Args:
        name: The image's name.
        label_map: As large as the image was seen.
        size: Height and width that it gets, those of the file's image; None keeps it as it is.
    """
    height, width = size or label_map.shape
    label_map = resize(label_map, height, width, NEAREST)
    return LabelMapRow(
        name=name,
        height=height,
        width=width,
        label_map=encode_mask(label_map),
        decided=float(np.mean(label_map != IGNORE)),
    )


def unlabelled_row(name: str, height: int, width: int) -> LabelMapRow:
    """Make the row of an image whose labels nobody knows."""
    return LabelMapRow(name=name, height=height, width=width, label_map=None, decided=None)


def row_label_map(row: LabelMapRow) -> LabelMap | None:
    """Decode the label map of a row; None where it has none."""
    return None if row["label_map"] is None else decode_mask(row["label_map"])


def check_num_classes(num_classes: int) -> None:
    """Check that label maps can hold so many classes.

    Raises:
        ValueError: they cannot.
    """
    if num_classes > MAX_CLASSES:
        raise ValueError(
            f"{num_classes} classes are more than a label map can hold: values 1 to {MAX_CLASSES} "
            "are classes, 0 is background and 255 is ignored. Merge classes, or leave some out "
            "(data.class_names)"
        )
