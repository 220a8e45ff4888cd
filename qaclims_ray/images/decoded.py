"""Decode the images of Arrow tables, for tasks on CPUs that run ahead of actors on GPUs.

A decoded image takes 3 bytes per pixel. One that is to have the size that a network sees leaves the
task at that size.
"""

from collections.abc import Iterator, Sequence
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


_AT_ONCE = 2**21
"""Bytes of pixels that go to Arrow at a time, by many small images or by one large one."""
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
    """Decode image rows (name, image, labels) as one table; see `decode_tables`."""
    return pa.concat_tables([_SCHEMA.empty_table(), *decode_tables(images, max_pixels, fit)])


def decode_tables(
    images: pa.Table, max_pixels: int = MAX_PIXELS, fit: Fit | None = None
) -> Iterator[pa.Table]:
    """Decode image rows (name, image, labels), as tables of few megabytes, or of one large image.

    Images are fitted to the network that will see them, where it wants one size. However many rows
    there are, what is held beside the table that a caller has is one more, and the file and the
    pixels of one image.
    """
    rows: list[DecodedRow] = []
    num_bytes = 0
    for row in rows_of(images):
        rows.append(decode_row(row, max_pixels, fit))
        num_bytes += len(rows[-1]["pixels"])
        if num_bytes >= _AT_ONCE:
            num_bytes = 0
            yield _taken(rows)
    if rows:
        yield _taken(rows)


def rows_of(images: pa.Table) -> Iterator[ImageRow]:
    """Take rows out of Arrow one by one, as files of images are large."""
    for row in range(len(images)):
        yield images.slice(row, 1).to_pylist()[0]


def _taken(rows: list[DecodedRow]) -> pa.Table:
    """Move rows to Arrow: none is left in the list, whose pixels would be held while others are."""
    table = pa.Table.from_pylist([{**row} for row in rows], schema=_SCHEMA)
    rows.clear()
    return table


def undecoded_table(images: pa.Table) -> pa.Table:
    """Return what decoding makes of image rows (name, labels), without pixels: none are needed."""
    rows = [
        DecodedRow(**row, pixels=b"", height=0, width=0, error=None)
        for row in images.select(["name", "labels"]).to_pylist()
    ]
    return pa.Table.from_pylist([{**row} for row in rows], schema=_SCHEMA)


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
