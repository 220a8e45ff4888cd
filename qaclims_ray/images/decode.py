"""Decode images and label maps from untrusted bytes; encode label maps.

Pixels are those that a viewer shows: grey and palette images become RGB, CMYK is converted without
a colour profile, samples of 12 or 16 bits are scaled down to 8 bits (not clipped), transparent
pixels are laid over white, the EXIF orientation is applied, and of an animation the first frame
counts, of a TIFF the first page that is no preview. Colour profiles are ignored, as in the
published pipelines.
"""

import io
import re

import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from qaclims_ray.images.palette import voc_palette
from qaclims_ray.images.tiff import is_lossy, levels, turn_to_main_page
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
_VOC_VALUES = {tuple(colour): value for value, colour in enumerate(voc_palette().tolist())}


def decode(image_bytes: bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image to RGB pixels.

    Raises:
        ValueError: the bytes are no image of a known format, are damaged or cut off, or hold
            more than `max_pixels` pixels (checked before any pixel is decoded).
    """
    return np.array(_to_rgb(_upright(_load(_open(image_bytes, max_pixels)))))


def decode_mask(png: bytes, *, max_pixels: int = MAX_PIXELS) -> LabelMap:
    """Decode a mask to its label map: palette indices or grey values, as the file has them.

    Raises:
        ValueError: as in `decode`; also for a colour image, which holds no indices, for a lossy
            format or a palette in another order, which change them, and for values below 0 or
            above 255.
    """
    picture = _open(png, max_pixels)
    _check_exact(picture)
    stored, decoded = _maxima(picture)
    picture = _upright(_load(picture))
    if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise ValueError(
            f"the mask is a colour image (mode {picture.mode}); a mask holds class numbers: "
            "save it as a paletted or grey PNG"
        )
    values = np.array(picture)
    if picture.mode == "P":
        _check_palette(picture, values)
    if stored != decoded:
        values = np.rint(values * (stored / decoded)).astype(np.int64)
    wrong = values[(values < 0) | (values > 255)]
    if wrong.size:
        raise ValueError(f"mask value {wrong[0]} is not in 0 to 255")
    return values.astype(np.uint8)


def _check_exact(picture: ImageFile) -> None:
    """Check that a mask's file keeps values as they were, and that Pillow does."""
    lossy = picture.format in ("JPEG", "MPO", "JPEG2000")
    if lossy or (isinstance(picture, TiffImageFile) and is_lossy(picture)):
        raise ValueError(
            f"the mask is a {picture.format} file, compressed as photographs are: its values are "
            "not exactly the class numbers that were drawn. Save the masks as PNG, from what they "
            "were made of"
        )
    if re.match(r"[1L];\d?I", _raw_mode(picture)):
        raise ValueError(
            "the mask's file counts down from white, which is 0 there; save it as a paletted or "
            "grey PNG"
        )


def _maxima(picture: ImageFile) -> tuple[int, int]:
    """Return the greatest value that a mask's file can hold, and what Pillow makes of it."""
    decoded = 255 if picture.mode in ("L", "P", "1") else 65535
    if picture.format == "PPM" and picture.tile[0].codec_name.startswith("ppm"):
        arguments = picture.tile[0].args
        assert isinstance(arguments, tuple)
        return arguments[1], decoded
    bits = re.fullmatch(r"L;([24])\w*", _raw_mode(picture))
    return (2 ** int(bits[1]) - 1, decoded) if bits else (decoded, decoded)


def _raw_mode(picture: ImageFile) -> str:
    """Return Pillow's name of how a file keeps its samples; empty where it has none."""
    arguments = picture.tile[0].args if picture.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _check_palette(picture: pil.Image, values: LabelMap) -> None:
    """Check that the colours of a palette, if they are VOC's, are in VOC's order."""
    colours = np.reshape(picture.getpalette() or [], (-1, 3)).tolist()
    used = [value for value in np.unique(values).tolist() if value < len(colours)]
    meant = [_VOC_VALUES.get(tuple(colours[value])) for value in used]
    if None not in meant and meant != used:
        moved = next(i for i, value in enumerate(used) if value != meant[i])
        raise ValueError(
            f"the mask's palette has VOC's colours in another order ({used[moved]} has that of "
            f"{meant[moved]}), so indices may be no class numbers: save it as a grey PNG of these"
        )


def encode_mask(label_map: LabelMap, palette: UInt8[np.ndarray, "256 3"] | None = None) -> bytes:
    """Encode a label map as PNG; a palette (default: VOC's) makes its classes visible."""
    picture = pil.fromarray(label_map)
    picture.putpalette((voc_palette() if palette is None else palette).tobytes())
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def encode_jpeg(image: Image) -> bytes:
    """Encode an image as JPEG, of quality 95 and with colours that are not subsampled."""
    out = io.BytesIO()
    pil.fromarray(image).save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


def orientation(image_bytes: bytes) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 where it has none that is legal."""
    return _orientation(_open(image_bytes, MAX_PIXELS))


def orient(label_map: LabelMap, exif_orientation: int) -> UInt8[np.ndarray, "_ _"]:
    """Turn a label map of stored pixels as the EXIF orientation turns the image."""
    if exif_orientation not in TRANSPOSE:
        return label_map
    return np.array(pil.fromarray(label_map).transpose(TRANSPOSE[exif_orientation]))


def _open(image_bytes: bytes, max_pixels: int) -> ImageFile:
    """Open a picture; every way in which Pillow fails is a ValueError."""
    if not image_bytes:
        raise ValueError("the file is empty (0 bytes)")
    try:
        picture = pil.open(io.BytesIO(image_bytes), formats=FORMATS)
    except pil.UnidentifiedImageError as error:
        raise ValueError(f"not an image (known formats: {', '.join(FORMATS)})") from error
    except Exception as error:  # decoders raise whatever the damaged bytes lead them to
        raise ValueError(f"the image cannot be read: {error}") from error
    if isinstance(picture, TiffImageFile):
        turn_to_main_page(picture, image_bytes)
    if picture.width * picture.height > max_pixels:
        raise ValueError(
            f"the image has {picture.width} x {picture.height} pixels, more than the limit of "
            f"{max_pixels:,}; raise the limit or shrink the image"
        )
    return picture


def _load(picture: pil.Image) -> pil.Image:
    """Load the pixels. Pillow turns a TIFF upright as it loads it, and forgets its orientation."""
    try:
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
        samples = np.array(picture).astype(np.int64)
        black, white = levels(picture) if isinstance(picture, TiffImageFile) else (0, 65535)
        if samples.min() < 0 or samples.max() > max(black, white):
            raise ValueError(
                f"the image has grey values from {samples.min()} to {samples.max()}; save it with "
                "8 or 16 bits"
            )
        shown = (samples - black) * 255 // (white - black)
        return pil.fromarray(shown.astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = pil.alpha_composite(pil.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")
