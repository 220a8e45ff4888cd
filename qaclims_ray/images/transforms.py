"""Resize, crop, flip and normalise images and label maps. NumPy in, NumPy out.

`augment` draws the training views of the published VOC pipeline (jiwoon-ahn/irn
`voc12/dataloader.py` and `misc/imutils.py`, which QA-CLIMS uses). Here their randomness depends on
(seed, epoch, name) only: every worker gives every image the same view.
"""

import zlib

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image as pil

from qaclims_ray.types import IGNORE, IMAGENET_MEAN, IMAGENET_STD, Image, LabelMap

Pixels = Float32[np.ndarray, "3 _ _"]
"""Normalised RGB, channels first; 0 is the mean colour."""
Raster = UInt8[np.ndarray, "H W *_"]
"""An image (height, width, 3) or a label map (height, width)."""

BICUBIC, NEAREST = pil.Resampling.BICUBIC, pil.Resampling.NEAREST
BILINEAR = pil.Resampling.BILINEAR

# (x / 255 - mean) / std of all 256 values in float64, then rounded: the published arithmetic.
NORMALISED = (
    (np.arange(256) / 255.0 - np.array(IMAGENET_MEAN)[:, None]) / np.array(IMAGENET_STD)[:, None]
).astype(np.float32)
"""What each channel's levels 0 to 255 become, shape (3, 256)."""


def augment(
    image: Image,
    *,
    seed: int,
    epoch: int,
    name: str,
    resize_long: tuple[int, int] | None,
    crop: int | None,
    flip: bool = True,
    scale: tuple[float, float] | None = None,
) -> Pixels:
    """Draw a training view: random size, random flip, normalisation, random crop.

    Args:
        image: decoded pixels.
        seed: the run's seed, not negative.
        epoch: not negative; each epoch sees another view.
        name: the image's name.
        resize_long: range of the long side in pixels, both ends included; None keeps the size.
        crop: side of the random square window in pixels (the mean colour outside the image);
            None keeps all.
        flip: exchange left and right in half of all views.
        scale: range of the factor on both sides, where `resize_long` is None; None keeps the size.
    """
    rng = view_rng(seed, epoch, name)
    pixels = normalise(_resize_and_flip(image, rng, resize_long, scale, flip, BICUBIC))
    return pixels if crop is None else random_crop(pixels, crop, rng)


def augment_label_map(
    label_map: LabelMap,
    *,
    seed: int,
    epoch: int,
    name: str,
    resize_long: tuple[int, int] | None,
    crop: int | None,
    flip: bool = True,
    scale: tuple[float, float] | None = None,
    resample: pil.Resampling = NEAREST,
    fill: int = IGNORE,
) -> UInt8[np.ndarray, "_ _"]:
    """Draw the view of a label map that `augment` draws of its image, by the same arguments.

    Pixels keep the label of the nearest pixel; those outside the image are `IGNORE`. A map of
    levels, such as a CAM, wants `BILINEAR` and 0.
    """
    rng = view_rng(seed, epoch, name)
    view = _resize_and_flip(label_map, rng, resize_long, scale, flip, resample)
    return view if crop is None else random_crop(view, crop, rng, fill)


def _resize_and_flip(
    array: Raster,
    rng: np.random.Generator,
    resize_long: tuple[int, int] | None,
    scale: tuple[float, float] | None,
    flip: bool,
    resample: pil.Resampling,
) -> UInt8[np.ndarray, "_ _ *_"]:
    if resize_long is not None:
        array = random_resize(array, rng, *resize_long, resample)
    elif scale is not None:
        array = rescale(array, rng.uniform(*scale), resample)
    return hflip(array) if flip and rng.integers(2) else array


def view_rng(seed: int, epoch: int, name: str) -> np.random.Generator:
    """Return the random generator of one image in one epoch, the same on every machine."""
    return np.random.default_rng([seed, epoch, zlib.crc32(name.encode())])


def resize(
    array: Raster, height: int, width: int, resample: pil.Resampling = BICUBIC
) -> UInt8[np.ndarray, "_ _ *_"]:
    """Resize an image by Pillow's bicubic filter, which averages where it shrinks.

    A label map wants `NEAREST`.
    """
    if array.shape[:2] == (height, width):
        return array
    return np.array(pil.fromarray(array).resize((width, height), resample))


def rescale(
    array: Raster, scale: float, resample: pil.Resampling = BICUBIC
) -> UInt8[np.ndarray, "_ _ *_"]:
    """Multiply both sides of an image or label map by `scale`, rounded, at least one pixel."""
    height, width = (max(1, round(side * scale)) for side in array.shape[:2])
    return resize(array, height, width, resample)


def shrink(
    array: Raster, max_side: int | None, resample: pil.Resampling = BICUBIC
) -> UInt8[np.ndarray, "_ _ *_"]:
    """Resize the long side of an image or label map to `max_side` pixels where it is longer."""
    long = max(array.shape[:2])
    if max_side is None or long <= max_side:
        return array
    return rescale(array, max_side / long, resample)


def random_resize(
    array: Raster,
    rng: np.random.Generator,
    low: int,
    high: int,
    resample: pil.Resampling = BICUBIC,
) -> UInt8[np.ndarray, "_ _ *_"]:
    """Resize the long side of an image or label map to a random length in [low, high] pixels."""
    scale = int(rng.integers(low, high, endpoint=True)) / max(array.shape[:2])
    return rescale(array, scale, resample)


def hflip(array: Raster) -> Raster:
    """Exchange left and right of an image or label map."""
    return np.ascontiguousarray(array[:, ::-1])


def random_crop(
    array: Shaped[np.ndarray, "*C H W"], size: int, rng: np.random.Generator, fill: int = 0
) -> Shaped[np.ndarray, "*C _ _"]:
    """Cut a random window of `size` x `size`; a smaller array lies at a random place in it.

    Crop normalised pixels with `fill=0`, which pads with the mean colour, and label maps with
    `fill=IGNORE`: equal generators cut an image and its label map alike.
    """
    height, width = array.shape[-2:]
    source_x, target_x = _window(width, size, rng)
    source_y, target_y = _window(height, size, rng)
    out = np.full((*array.shape[:-2], size, size), fill, array.dtype)
    out[..., target_y, target_x] = array[..., source_y, source_x]
    return out


def _window(length: int, size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return where to read along one side and where to write, at one random offset."""
    offset = int(rng.integers(abs(length - size) + 1))
    overlap = min(length, size)
    moved, fixed = slice(offset, offset + overlap), slice(0, overlap)
    return (moved, fixed) if length > size else (fixed, moved)


def normalise(image: Image) -> Float32[np.ndarray, "3 H W"]:
    """Compute (x / 255 - mean) / std with ImageNet's constants, channels first."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for channel in range(3):  # "clip" is the mode that needs no buffer
        np.take(NORMALISED[channel], image[..., channel], out=out[channel], mode="clip")
    return out
