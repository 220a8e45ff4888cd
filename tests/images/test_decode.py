import struct
import zlib

import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray.images.decode import TRANSPOSE, decode, decode_mask, orient, orientation
from tests.build import encode, exif, photo

GREY = np.array([[0, 90], [180, 255]], np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_png_mode_becomes_rgb(mode):
    picture = pil.fromarray(photo(8, 8)).convert("L").convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = pil.fromarray(np.array(picture).astype(np.uint16) * 257)
    pixels = decode(encode(picture))
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 10


def test_grey_is_repeated_and_16_bit_is_scaled_not_clipped():
    grey = decode(encode(pil.fromarray(GREY)))
    deep = decode(encode(pil.fromarray(GREY.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(grey, np.repeat(GREY[..., None], 3, axis=2))
    np.testing.assert_array_equal(deep, grey)


def test_16_bit_colour_tiff_and_32_bit_grey_tiff():
    deep = pil.fromarray(GREY.astype(np.int32) * 257)
    assert deep.mode == "I"
    np.testing.assert_array_equal(decode(encode(deep, "TIFF"))[..., 0], GREY)


@pytest.mark.parametrize("value", [-1, 70_000])
def test_grey_values_beyond_16_bits_are_refused(value):
    picture = pil.fromarray(np.array([[0, value]], np.int32))
    with pytest.raises(ValueError, match=f"grey values from .*{value}"):
        decode(encode(picture, "TIFF"))


def test_floating_point_pixels_are_refused():
    picture = pil.fromarray(GREY.astype(np.float32))
    with pytest.raises(ValueError, match="floating-point"):
        decode(encode(picture, "TIFF"))


def test_transparent_pixels_are_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = [255, 0, 128]
    pixels = decode(encode(pil.fromarray(rgba)))
    assert pixels[0, 0].tolist() == [200, 0, 0]
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert 225 < pixels[0, 2, 0] < 230
    assert 125 < pixels[0, 2, 1] < 130


def test_palette_transparency_is_white():
    picture = pil.fromarray(np.array([[0, 1]], np.uint8))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    pixels = decode(encode(picture, transparency=1))
    assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_cmyk_jpeg_has_the_colours_of_its_rgb():
    rgb = photo()
    pixels = decode(encode(pil.fromarray(rgb).convert("CMYK"), "JPEG", quality=98))
    assert np.abs(pixels.astype(int) - rgb).mean() < 4


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_formats_are_told_by_content(file_format):
    rgb = photo()
    assert np.abs(decode(encode(pil.fromarray(rgb), file_format)).astype(int) - rgb).mean() < 6


def test_progressive_jpeg_equals_baseline():
    picture = pil.fromarray(photo())
    baseline, progressive = (encode(picture, "JPEG", progressive=value) for value in (False, True))
    assert baseline != progressive
    np.testing.assert_array_equal(decode(baseline), decode(progressive))


def test_first_frame_of_an_animation():
    frames = [pil.fromarray(np.full((4, 4), value, np.uint8)) for value in (40, 200)]
    image = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(image).max() == 40


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(value, file_format):
    shown = photo(6, 9)
    undo = {6: pil.Transpose.ROTATE_90, 8: pil.Transpose.ROTATE_270}
    picture = pil.fromarray(shown)
    if value in TRANSPOSE:
        picture = picture.transpose(undo.get(value, TRANSPOSE[value]))
    image = encode(picture, file_format, exif=exif(value))
    np.testing.assert_array_equal(decode(image), shown)
    assert orientation(image) == value
    stored = np.array(picture)[..., 0]
    np.testing.assert_array_equal(orient(stored, value), shown[..., 0])


@pytest.mark.parametrize("value", [0, 9, 1000])
def test_illegal_orientation_leaves_the_image_as_stored(value):
    rgb = photo(6, 9)
    image = encode(pil.fromarray(rgb), exif=exif(value))
    np.testing.assert_array_equal(decode(image), rgb)


def test_broken_exif_leaves_the_image_as_stored():
    rgb = photo(6, 9)
    image = encode(pil.fromarray(rgb), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode(image), rgb)


def test_more_pixels_than_the_limit():
    image = encode(photo(10, 20))
    decode(image, max_pixels=200)
    with pytest.raises(ValueError, match="20 x 10 pixels, more than the limit of 199"):
        decode(image, max_pixels=199)


def test_a_decompression_bomb_is_refused_by_its_header():
    image = encode(pil.new("L", (1, 1)))
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + image[24:29]
    bomb = image[:12] + header + struct.pack(">I", zlib.crc32(header)) + image[33:]
    with pytest.raises(ValueError, match="decompression bomb"):
        decode(bomb)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda image: b"", "empty"),
        (lambda image: b"GET / HTTP/1.1", "not an image"),
        (lambda image: image[: len(image) // 2], "damaged or cut off"),
        (lambda image: image[:20], r"not an image|cannot be read|cut off"),
        (lambda image: b"\0" * len(image), "not an image"),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_broken_files_say_what_is_wrong(file_format, damage, reason):
    image = encode(photo(300, 400), file_format)
    with pytest.raises(ValueError, match=reason):
        decode(damage(image))


def test_postscript_is_not_run():
    with pytest.raises(ValueError, match="not an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")


def test_masks_keep_palette_indices_and_grey_values():
    values = np.array([[0, 1], [20, 255]], np.uint8)
    paletted = pil.fromarray(values)
    paletted.putpalette(list(range(256)) * 3)
    for picture in (pil.fromarray(values), paletted, pil.fromarray(values.astype(np.uint16))):
        np.testing.assert_array_equal(decode_mask(encode(picture)), values)


def test_colour_masks_and_large_values_are_refused():
    with pytest.raises(ValueError, match="colour image"):
        decode_mask(encode(photo()))
    with pytest.raises(ValueError, match="300 is not in 0 to 255"):
        decode_mask(encode(pil.fromarray(np.full((2, 2), 300, np.uint16))))
    negative = encode(pil.fromarray(np.array([[0, -1]], np.int32)), "TIFF")
    with pytest.raises(ValueError, match="-1 is not in 0 to 255"):
        decode_mask(negative)


def test_decoded_pixels_may_be_written_to():
    decode(encode(photo()))[0, 0] = 0
