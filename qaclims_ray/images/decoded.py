"""Decode the images of Arrow tables, for tasks on CPUs that run ahead of actors on GPUs.

A decoded image takes 3 bytes per pixel. One that is to have the size that a network sees leaves the
task at that size.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8
from PIL import Image as pil

from qaclims_ray.images.decode import MAX_PIXELS, decode
from qaclims_ray.types import Image, ImageRow


class DecodedRow(TypedDict):
    """One image as pixels, with its image-level labels."""

    name: str
    labels: list[int] | None
    pixels: bytes
    """RGB, uint8, C-contiguous, shape `(height, width, 3)`; empty where there is an error."""
    height: int
    width: int
    error: str | None


class Fit(NamedTuple):
    """The size that a network sees all images at, and how they come to it."""

    height: int
    width: int
    resample: int
    """Pillow's number of the filter."""

    def __call__(self, image: Image) -> UInt8[np.ndarray, "_ _ 3"]:
        """Resize an image; one that fits stays as it is."""
        if image.shape[:2] == (self.height, self.width):
            return image
        resample = pil.Resampling(self.resample)
        return np.array(pil.fromarray(image).resize((self.width, self.height), resample))


_EMPTY = np.zeros((0, 0, 3), np.uint8)
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("labels", pa.list_(pa.int32())),
        ("pixels", pa.large_binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("error", pa.string()),
    ]
)


def decode_table(
    images: pa.Table, max_pixels: int = MAX_PIXELS, fit: Fit | None = None
) -> pa.Table:
    """Decode a batch of image rows (name, image, labels), and fit the images to a network.

    Each row goes to Arrow before the next is decoded, so pixels are held once, but for one image.
    """
    rows = (decode_row(row, max_pixels, fit) for row in images.to_pylist())
    tables = [pa.Table.from_pylist([{**row}], schema=_SCHEMA) for row in rows]
    return pa.concat_tables([_SCHEMA.empty_table(), *tables])


def decode_row(row: ImageRow, max_pixels: int = MAX_PIXELS, fit: Fit | None = None) -> DecodedRow:
    """Decode one image row; an image that cannot be decoded gets its `error`."""
    image, error = _EMPTY, None
    try:
        image = decode(row["image"], max_pixels=max_pixels)
        image = image if fit is None else fit(image)
    except (ValueError, OSError, MemoryError) as wrong:  # of this image only; others go on
        error = f"{type(wrong).__name__}: {wrong}"
    return DecodedRow(
        name=row["name"],
        labels=row["labels"],
        pixels=image.tobytes(),
        height=image.shape[0],
        width=image.shape[1],
        error=error,
    )


def images_of(rows: Sequence[DecodedRow]) -> list[Image]:
    """Return the pixels of rows without error, read-only."""
    return [
        np.frombuffer(row["pixels"], np.uint8).reshape(row["height"], row["width"], 3)
        for row in rows
    ]
