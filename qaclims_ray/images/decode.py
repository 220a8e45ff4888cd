"""Pillow pictures from untrusted bytes: open, turn upright, make RGB."""

import io

import numpy as np
from PIL import Image as pil

MAX_PIXELS = 178_956_970
"""Default limit of pixels per image: half a gigabyte of RGB. Pillow refuses more than this,
whatever limit is given here, and warns above half of it."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
"""What an image file may contain, whatever its suffix says."""
TRANSPOSE = {
    2: pil.Transpose.FLIP_LEFT_RIGHT,
    3: pil.Transpose.ROTATE_180,
    4: pil.Transpose.FLIP_TOP_BOTTOM,
    5: pil.Transpose.TRANSPOSE,
    6: pil.Transpose.ROTATE_270,
    7: pil.Transpose.TRANSVERSE,
    8: pil.Transpose.ROTATE_90,
}
"""How each EXIF orientation but 1 (upright) is undone."""

_ORIENTATION = 0x0112


def open_picture(image_bytes: bytes, max_pixels: int) -> pil.Image:
    """The picture, all its pixels loaded; every way in which Pillow fails is a ValueError.

    Pillow turns a TIFF upright as it loads it, and forgets its orientation.
    """
    picture = open_header(image_bytes, max_pixels)
    try:
        picture.load()
    except Exception as error:
        raise ValueError(f"the image is damaged or cut off: {error}") from error
    return picture


def open_header(image_bytes: bytes, max_pixels: int) -> pil.Image:
    """The picture as its header describes it, nothing loaded; errors as in `open_picture`."""
    if not image_bytes:
        raise ValueError("the file is empty (0 bytes)")
    try:
        picture = pil.open(io.BytesIO(image_bytes), formats=FORMATS)
    except pil.UnidentifiedImageError as error:
        raise ValueError(f"not an image (known formats: {', '.join(FORMATS)})") from error
    except Exception as error:  # decoders raise whatever the damaged bytes lead them to
        raise ValueError(f"the image cannot be read: {error}") from error
    if picture.width * picture.height > max_pixels:
        raise ValueError(
            f"the image has {picture.width} x {picture.height} pixels, more than the limit of "
            f"{max_pixels:,}; raise the limit or shrink the image"
        )
    return picture


def orientation_of(picture: pil.Image) -> int:
    """EXIF orientation, 1 to 8. Where the EXIF data are broken it is 1, as in viewers."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # as in `open_picture`
        return 1
    return value if value in TRANSPOSE else 1


def upright(picture: pil.Image) -> pil.Image:
    """The picture turned as its EXIF orientation says."""
    value = orientation_of(picture)
    return picture.transpose(TRANSPOSE[value]) if value in TRANSPOSE else picture


def to_rgb(picture: pil.Image) -> pil.Image:
    """8-bit RGB of a picture of any mode; transparent pixels are laid over white.

    Raises:
        ValueError: floating-point pixels, or more than 16 bits: nobody knows which is white.
    """
    if picture.mode == "F":
        raise ValueError("the image has floating-point pixels; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit samples at 255.
        samples = np.array(picture)
        if samples.min() < 0 or samples.max() > 65535:
            raise ValueError(
                f"the image has grey values from {samples.min()} to {samples.max()}; save it with "
                "8 or 16 bits"
            )
        return pil.fromarray((samples // 257).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = pil.alpha_composite(pil.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")
