"""From CAMs to seeds: where an image is surely foreground, surely background, or neither."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from qaclims_ray.types import BACKGROUND, IGNORE, Image, LabelMap

Refine = Callable[[Image, LabelMap, int], LabelMap]
"""Image, labels and number of labels to better labels: `crf.dense_crf`."""


def cam_label_maps(
    image: Image,
    cams: Float[np.ndarray, "N H W"],
    classes: Sequence[int],
    thresholds: Sequence[float],
    *,
    refine: Refine | None = None,
) -> UInt8[np.ndarray, "T H W"]:
    """Label an image at each background score: class index + 1 of the largest CAM, or 0.

    Args:
        image: The image.
        cams: In [0, 1], one per entry of `classes`.
        classes: Class indices.
        thresholds: Background scores: no CAM exceeds them where the label is 0.
        refine: What each labelling goes through on its own; None: nothing.
    """
    labels = [label_cams(cams, threshold) for threshold in thresholds]
    if refine is not None:
        labels = [refine(image, each, len(classes) + 1) for each in labels]
    values = np.array([BACKGROUND, *(index + 1 for index in classes)], dtype=np.uint8)
    return values[np.stack(labels)]


def label_cams(cams: Float[np.ndarray, "N H W"], threshold: float) -> LabelMap:
    """1 + the place of the largest CAM where it exceeds the threshold, else 0."""
    floor = np.full((1, *cams.shape[1:]), threshold, dtype=cams.dtype)
    return np.concatenate([floor, cams]).argmax(0).astype(np.uint8)


def merge_labels(strict: LabelMap, lenient: LabelMap) -> LabelMap:
    """Make seeds: foreground where `strict` says so, background where both do, 255 elsewhere.

    So a pixel is foreground where a CAM is surely high, and background where all are surely low
    (published `step/cam_to_ir_label.py`).

    Args:
        strict: Labelling at the high background score.
        lenient: Labelling at the low one.
    """
    unsure = (strict == BACKGROUND) & (lenient != BACKGROUND)
    return np.where(unsure, np.uint8(IGNORE), strict)
