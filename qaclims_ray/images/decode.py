"""Decode images and label maps from untrusted bytes; encode label maps.

Pixels are those that a viewer shows: grey and palette images become RGB, CMYK is converted without
a colour profile, 16-bit samples are scaled down to 8 bits (not clipped), transparent pixels are
laid over white, the EXIF orientation is applied, and of an animation the first frame counts.
Colour profiles are ignored, as in the published pipelines.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil

from qaclims_ray.images.palette import voc_palette
from qaclims_ray.types import Image, LabelMap

MAX_PIXELS = 178_956_970
"""Default limit of pixels per image: half a gigabyte of RGB. Pillow refuses more than this,
whatever limit is given here, and warns above half of it."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
"""Formats that are told by a file's content; its suffix does not count."""
SUFFIXES = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "jpx"),
    )
)
"""Usual suffixes of these formats."""
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


def decode(image_bytes: bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image to RGB pixels.

    Raises:
        ValueError: the bytes are no image of a known format, are damaged or cut off, or hold
            more than `max_pixels` pixels (checked before any pixel is decoded).
    """
    return np.array(_to_rgb(_upright(_open(image_bytes, max_pixels, load=True))))


def decode_mask(png: bytes, *, max_pixels: int = MAX_PIXELS) -> LabelMap:
    """Decode a mask to its label map: palette indices or grey values, unchanged.

    Raises:
        ValueError: as in `decode`; also for a colour image, which holds no indices, and for
            values below 0 or above 255.
    """
    picture = _upright(_open(png, max_pixels, load=True))
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
    """Encode a label map as PNG; a palette (default: VOC's) makes its classes visible."""
    picture = pil.fromarray(label_map)
    picture.putpalette((voc_palette() if palette is None else palette).tobytes())
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def orientation(image_bytes: bytes) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 where it has none that is legal."""
    return _orientation(_open(image_bytes, MAX_PIXELS, load=False))


def orient(label_map: LabelMap, exif_orientation: int) -> UInt8[np.ndarray, "_ _"]:
    """Turn a label map of stored pixels as the EXIF orientation turns the image."""
    if exif_orientation not in TRANSPOSE:
        return label_map
    return np.array(pil.fromarray(label_map).transpose(TRANSPOSE[exif_orientation]))


def _open(image_bytes: bytes, max_pixels: int, *, load: bool) -> pil.Image:
    """Open a picture, and load its pixels; every way in which Pillow fails is a ValueError.

    Pillow turns a TIFF upright as it loads it, and forgets its orientation.
    """
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
    try:
        if load:
            picture.load()
    except Exception as error:
        raise ValueError(f"the image is damaged or cut off: {error}") from error
    return picture


def _orientation(picture: pil.Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF data: upright, as in viewers
        return 1
    return value if value in TRANSPOSE else 1


def _upright(picture: pil.Image) -> pil.Image:
    value = _orientation(picture)
    return picture.transpose(TRANSPOSE[value]) if value in TRANSPOSE else picture


def _to_rgb(picture: pil.Image) -> pil.Image:
    """Convert a picture of any mode to 8-bit RGB.

    Raises:
        ValueError: floating-point pixels, or more than 16 bits, whose white level is unknown.
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
