"""Draw CAMs and label maps of one image.

`DRAWINGS` has one entry for each kind of artifact that is drawn.
"""

import base64
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image as pil

from qaclims_ray.images.cams import cams_by_class, full_size
from qaclims_ray.images.decode import MAX_PIXELS, decode_mask
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.images.transforms import rescale, resize
from qaclims_ray.types import BACKGROUND, IGNORE, CamRow, Image, LabelMap, LabelMapRow

COLOUR_MAP = "inferno"
"""Perceptually uniform: equal steps of a CAM look equal."""
_SIDE = 240
"""Long side of a picture in pixels."""
_HEAT_WEIGHT = 0.62
"""Weight of a CAM's colours over the grey image."""
_MASK_WEIGHT = 0.55
"""Weight of a mask's colours over the image."""


class Drawing(NamedTuple):
    """How the rows of a kind of artifact become pictures."""

    picture: Callable[[Image, Any, float], Image]
    """Image, the row about it, and a background threshold to a picture of the image's size."""
    label_map: Callable[[Any, float], LabelMap | None]
    """Row and background threshold to the classes of its pixels."""
    by_class: Callable[[Any], dict[int, Any]] | None = None
    """Row to rows of one class each; None: a picture shows all classes apart already."""


def data_uri(picture: Image) -> str:
    """Return the picture inside a URL, as a JPEG."""
    out = io.BytesIO()
    pil.fromarray(picture).save(out, format="JPEG", quality=86, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def fit(picture: Image) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return the picture with a long side of 240 pixels."""
    return rescale(picture, _SIDE / max(picture.shape[:2]))


def overlay(image: Image, cam: Float[np.ndarray, "H W"], threshold: float) -> Image:
    """Lay a CAM in [0, 1] over the image in grey; a white line is where it passes a threshold."""
    grey = image.mean(axis=2, keepdims=True)
    heat = 255 * colormaps[COLOUR_MAP](cam)[..., :3]
    mixed = (1 - _HEAT_WEIGHT) * grey + _HEAT_WEIGHT * heat
    region = cam > threshold
    across = np.diff(region, axis=1, prepend=region[:, :1])
    mixed[np.diff(region, axis=0, prepend=region[:1]) | across] = 255
    return mixed.round().astype(np.uint8)


def cam_picture(image: Image, row: CamRow, threshold: float) -> Image:
    """Draw the largest CAM of each pixel over the image, outlined at the threshold."""
    cam = full_size(row).max(axis=0, initial=0)
    height, width = image.shape[:2]
    cam = np.array(pil.fromarray(cam).resize((width, height), pil.Resampling.BILINEAR))
    return overlay(image, cam, threshold)


def cam_label_map(row: CamRow, threshold: float) -> LabelMap | None:
    """Return the class of the largest CAM where it passes the threshold; background wins a tie.

    Returns:
        The label map at the size of the image; None where the image shows a class beyond the 254
        that a label map can hold.
    """
    if max(row["classes"], default=0) + 1 >= IGNORE:
        return None
    cams: Float[np.ndarray, "N H W"] = full_size(row)
    values = np.array([BACKGROUND, *(label + 1 for label in row["classes"])], np.uint8)
    scores = np.concatenate([np.full((1, *cams.shape[1:]), threshold, np.float32), cams])
    return values[scores.argmax(axis=0)]


def label_map_picture(image: Image, png: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Draw an encoded label map in VOC's colours, at the size of the image.

    The background is light grey: on VOC's black its darkest classes cannot be seen. 255 is black.
    """
    palette = voc_palette()
    palette[BACKGROUND], palette[IGNORE] = 238, 0
    coloured = palette[decode_mask(png, max_pixels=max_pixels)]
    height, width = image.shape[:2]
    return resize(coloured, height, width, pil.Resampling.NEAREST)


def mask_overlay(image: Image, label_map: LabelMap) -> UInt8[np.ndarray, "H W 3"]:
    """Lay the classes of a label map over the image in their colours; `IGNORE` is white."""
    palette = voc_palette()
    palette[IGNORE] = 255
    weight = _MASK_WEIGHT * (label_map != BACKGROUND)[..., None]
    mixed = (1 - weight) * image + weight * palette[label_map]
    return mixed.round().astype(np.uint8)


def _row_picture(image: Image, row: LabelMapRow, _: float) -> Image:
    return image if row["label_map"] is None else label_map_picture(image, row["label_map"])


DRAWINGS: dict[str, Drawing] = {
    "cams": Drawing(cam_picture, cam_label_map, cams_by_class),
    "label_maps": Drawing(_row_picture, lambda row, _: row_label_map(row)),
}
"""Kinds of artifacts that are shown beside the images."""
