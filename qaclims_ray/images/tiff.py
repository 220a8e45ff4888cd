"""Know of a TIFF which page is the picture, how it is compressed, and what is white."""

from PIL.TiffImagePlugin import TiffImageFile

_BITS, _COMPRESSION, _PHOTOMETRIC, _SUBFILE, _OLD_SUBFILE = 258, 259, 262, 254, 255
"""Tags."""
_LOSSY = (6, 7, 34933, 34934)
"""Compressions by JPEG (old and new) and others for photographs."""
_MAX_PAGES = 64
_RAW = (
    "the file holds a preview of a picture, and the picture in a form that is not read, as raw "
    "files of cameras do; export it as JPEG or PNG"
)


def turn_to_main_page(tiff: TiffImageFile, image_bytes: bytes) -> None:
    """Turn to the first page that is no preview, or to a larger one of the same shape.

    Raises:
        ValueError: all pages are previews, or it is a raw file of Canon's, whose first page is one.
    """
    if image_bytes[8:10] == b"CR":
        raise ValueError(_RAW)
    main, largest = -1, (0, 0)
    for page in range(_MAX_PAGES):
        try:
            tiff.seek(page)
        except Exception:  # no further page, or none that Pillow knows
            break
        is_preview = tiff.tag_v2.get(_SUBFILE) in (1, 3, 5, 7) or tiff.tag_v2.get(_OLD_SUBFILE) == 2
        alike = abs(tiff.width * largest[1] - tiff.height * largest[0]) <= max(tiff.size)
        if not is_preview and alike and tiff.width > largest[0]:
            main, largest = page, tiff.size
    if main < 0:
        raise ValueError(_RAW)
    tiff.seek(main)


def is_lossy(tiff: TiffImageFile) -> bool:
    """Tell whether compression changes values."""
    return tiff.tag_v2.get(_COMPRESSION) in _LOSSY


def levels(tiff: TiffImageFile) -> tuple[int, int]:
    """Return the samples of black and white, where there are more than 8 bits."""
    highest = 4095 if tiff.tag_v2.get(_BITS) == (12,) else 65535
    return (highest, 0) if tiff.tag_v2.get(_PHOTOMETRIC) == 0 else (0, highest)
