"""Decode, resize, crop, flip and normalise images. NumPy in, NumPy out; no file paths.

Pixels are shown as a viewer shows them: grey and palette images become RGB, CMYK is converted
without a colour profile, 16-bit samples are scaled down to 8 bits (not clipped), transparent
pixels are laid over white, the EXIF orientation is applied, and of an animation the first frame
counts. Colour profiles are ignored, as in the published pipelines.

The training transforms are those of the published VOC pipeline (jiwoon-ahn/irn
`voc12/dataloader.py` and `misc/imutils.py`, which QA-CLIMS uses). Here their randomness depends
on (seed, epoch, name) only: every worker gives every image the same view.
"""

import io
import zlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image as pil

from qaclims_ray.images.decode import (
    MAX_PIXELS,
    TRANSPOSE,
    open_header,
    open_picture,
    orientation_of,
    to_rgb,
    upright,
)
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.types import IGNORE, IMAGENET_MEAN, IMAGENET_STD, Image, LabelMap

Pixels = Float32[np.ndarray, "3 _ _"]
"""Normalised RGB, channels first; 0 is the mean colour."""

# (x / 255 - mean) / std of all 256 values in float64, then rounded: the published arithmetic.
_NORMALISED = (
    (np.arange(256) / 255.0 - np.array(IMAGENET_MEAN)[:, None]) / np.array(IMAGENET_STD)[:, None]
).astype(np.float32)


def decode(image_bytes: bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """RGB pixels of an encoded image as a viewer shows them (see the module's docstring).

    Raises:
        ValueError: the bytes are no image of a known format, are damaged or cut off, or hold
            more than `max_pixels` pixels (checked before any pixel is decoded).
    """
    return np.array(to_rgb(upright(open_picture(image_bytes, max_pixels))))


def orientation(image_bytes: bytes) -> int:
    """EXIF orientation of an image that `decode` reads, 1 to 8; 1 if it has none that is legal."""
    return orientation_of(open_header(image_bytes, MAX_PIXELS))


def orient(label_map: LabelMap, exif_orientation: int) -> UInt8[np.ndarray, "_ _"]:
    """The label map of stored pixels, turned as the EXIF orientation turns the image."""
    if exif_orientation not in TRANSPOSE:
        return label_map
    return np.array(pil.fromarray(label_map).transpose(TRANSPOSE[exif_orientation]))


def decode_mask(png: bytes, *, max_pixels: int = MAX_PIXELS) -> LabelMap:
    """Label map of an encoded mask: its palette indices or grey values, unchanged.

    Raises:
        ValueError: as `decode`; also for a colour image, which holds no indices, and for values
            below 0 or above 255.
    """
    picture = upright(open_picture(png, max_pixels))
    if picture.mode not in ("1", "L", "P", "I", "I;16"):
        raise ValueError(
            f"the mask is a colour image (mode {picture.mode}); a mask holds class numbers: "
            "save it as a paletted or grey PNG"
        )
    values = np.array(picture)
    wrong = values[(values < 0) | (values > 255)]
    if wrong.size:
        raise ValueError(f"mask value {wrong[0]} is not in 0 to 255")
    return values.astype(np.uint8)


def encode_mask(label_map: LabelMap, palette: UInt8[np.ndarray, "256 3"] | None = None) -> bytes:
    """PNG of a label map; its palette (default: VOC's) makes the classes visible in a viewer."""
    picture = pil.fromarray(label_map)
    picture.putpalette((voc_palette() if palette is None else palette).tobytes())
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def resize(
    array: UInt8[np.ndarray, "H W *_"],
    height: int,
    width: int,
    resample: pil.Resampling = pil.Resampling.BICUBIC,
) -> UInt8[np.ndarray, "_ _ *_"]:
    """The image or label map at another size.

    Pillow's bicubic filter, for images, averages where it shrinks; label maps want `NEAREST`.
    """
    if array.shape[:2] == (height, width):
        return array
    return np.array(pil.fromarray(array).resize((width, height), resample))


def rescale(
    array: UInt8[np.ndarray, "H W *_"],
    scale: float,
    resample: pil.Resampling = pil.Resampling.BICUBIC,
) -> UInt8[np.ndarray, "_ _ *_"]:
    """The image or label map with both sides times `scale`, rounded, at least one pixel."""
    height, width = (max(1, round(side * scale)) for side in array.shape[:2])
    return resize(array, height, width, resample)


def resize_long(
    array: UInt8[np.ndarray, "H W *_"],
    rng: np.random.Generator,
    low: int,
    high: int,
    resample: pil.Resampling = pil.Resampling.BICUBIC,
) -> UInt8[np.ndarray, "_ _ *_"]:
    """The image or label map with its long side of a random length in [low, high] pixels."""
    scale = int(rng.integers(low, high, endpoint=True)) / max(array.shape[:2])
    return rescale(array, scale, resample)


def flip(array: UInt8[np.ndarray, "H W *_"]) -> UInt8[np.ndarray, "H W *_"]:
    """The image or label map with left and right exchanged."""
    return np.ascontiguousarray(array[:, ::-1])


def crop(
    array: Shaped[np.ndarray, "*C H W"], size: int, rng: np.random.Generator, fill: int = 0
) -> Shaped[np.ndarray, "*C _ _"]:
    """A random window of `size` x `size`; where the array is smaller it lies at a random place.

    Crop normalised pixels with `fill=0`, which pads with the mean colour, and label maps with
    `fill=IGNORE`: equal generators cut an image and its label map alike.
    """
    height, width = array.shape[-2:]
    source_x, target_x = _window(width, size, rng)
    source_y, target_y = _window(height, size, rng)
    out = np.full((*array.shape[:-2], size, size), fill, array.dtype)
    out[..., target_y, target_x] = array[..., source_y, source_x]
    return out


def normalise(image: Image) -> Float32[np.ndarray, "3 H W"]:
    """(x / 255 - mean) / std with ImageNet's constants, channels first."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for channel in range(3):  # "clip" is the mode that needs no buffer
        np.take(_NORMALISED[channel], image[..., channel], out=out[channel], mode="clip")
    return out


def view_rng(seed: int, epoch: int, name: str) -> np.random.Generator:
    """The random generator of one image in one epoch: the same on every worker and machine."""
    return np.random.default_rng([seed, epoch, zlib.crc32(name.encode())])


def augment(
    image: Image,
    *,
    seed: int,
    epoch: int,
    name: str,
    resize_long: tuple[int, int] | None,
    crop: int | None,
    flip: bool = True,
) -> Pixels:
    """The training view of an image: random size, random flip, normalisation, random crop.

    Args:
        image: decoded pixels.
        seed: the run's seed, not negative.
        epoch: not negative; each epoch sees another view.
        name: the image's name.
        resize_long: range of the long side in pixels, both ends included; None keeps the size.
        crop: side of the random square window in pixels (the mean colour outside the image);
            None keeps all.
        flip: exchange left and right in half of all views.
    """
    return _view(
        image,
        view_rng(seed, epoch, name),
        (resize_long, flip, crop),
        resample=pil.Resampling.BICUBIC,
        convert=normalise,
        fill=0,
    )


def augment_label_map(
    label_map: LabelMap,
    *,
    seed: int,
    epoch: int,
    name: str,
    resize_long: tuple[int, int] | None,
    crop: int | None,
    flip: bool = True,
) -> UInt8[np.ndarray, "_ _"]:
    """The label map of an image in the view that `augment` gives of the image.

    Takes the arguments of `augment`. Pixels keep the label of the nearest pixel; those outside the
    image are `IGNORE`.
    """
    return _view(
        label_map,
        view_rng(seed, epoch, name),
        (resize_long, flip, crop),
        resample=pil.Resampling.NEAREST,
        convert=np.asarray,
        fill=IGNORE,
    )


def _view(
    array: UInt8[np.ndarray, "H W *_"],
    rng: np.random.Generator,
    options: tuple[tuple[int, int] | None, bool, int | None],
    *,
    resample: pil.Resampling,
    convert: Callable[[UInt8[np.ndarray, "..."]], np.ndarray],
    fill: int,
) -> Shaped[np.ndarray, "*_"]:
    """An image or label map, changed by the same draws in the same order."""
    long_side, mirror, window = options
    if long_side is not None:
        array = resize_long(array, rng, *long_side, resample)
    if mirror and rng.integers(2):
        array = flip(array)
    converted = convert(array)
    return converted if window is None else crop(converted, window, rng, fill)


def _window(length: int, size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Where to read along one side and where to write: one random offset, in the longer one."""
    offset = int(rng.integers(abs(length - size) + 1))
    overlap = min(length, size)
    moved, fixed = slice(offset, offset + overlap), slice(0, overlap)
    return (moved, fixed) if length > size else (fixed, moved)
