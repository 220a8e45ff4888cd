"""Resize, crop, flip and normalise images. NumPy in, NumPy out.

`augment` gives the training views of the published VOC pipeline (jiwoon-ahn/irn
`voc12/dataloader.py` and `misc/imutils.py`, which QA-CLIMS uses). Here their randomness depends on
(seed, epoch, name) only: every worker gives every image the same view.
"""

import zlib

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image as pil

from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD, Image

Pixels = Float32[np.ndarray, "3 _ _"]
"""Normalised RGB, channels first; 0 is the mean colour."""

# (x / 255 - mean) / std of all 256 values in float64, then rounded: the published arithmetic.
_NORMALISED = (
    (np.arange(256) / 255.0 - np.array(IMAGENET_MEAN)[:, None]) / np.array(IMAGENET_STD)[:, None]
).astype(np.float32)


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
    """
    rng = view_rng(seed, epoch, name)
    if resize_long is not None:
        image = random_resize(image, rng, *resize_long)
    if flip and rng.integers(2):
        image = hflip(image)
    pixels = normalise(image)
    return pixels if crop is None else random_crop(pixels, crop, rng)


def view_rng(seed: int, epoch: int, name: str) -> np.random.Generator:
    """Return the random generator of one image in one epoch, the same on every machine."""
    return np.random.default_rng([seed, epoch, zlib.crc32(name.encode())])


def resize(image: Image, height: int, width: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """Resize an image by Pillow's bicubic filter, which averages where it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(pil.fromarray(image).resize((width, height), pil.Resampling.BICUBIC))


def rescale(image: Image, scale: float) -> UInt8[np.ndarray, "_ _ 3"]:
    """Multiply both sides of an image by `scale`, rounded, at least one pixel."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return resize(image, height, width)


def random_resize(
    image: Image, rng: np.random.Generator, low: int, high: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Resize the long side of an image to a random length in [low, high] pixels, aspect kept."""
    return rescale(image, int(rng.integers(low, high, endpoint=True)) / max(image.shape[:2]))


def hflip(image: Image) -> Image:
    """Exchange left and right."""
    return np.ascontiguousarray(image[:, ::-1])


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
        np.take(_NORMALISED[channel], image[..., channel], out=out[channel], mode="clip")
    return out
