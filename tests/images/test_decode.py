import struct
import zlib

import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray.images.decode import TRANSPOSE, decode, decode_mask, orient, orientation
from qaclims_ray.images.palette import voc_palette
from tests.build import encode, exif, photo


def tiff(*pages, bits=8, photometric=1):
    """A TIFF of one strip a page; a page is (width, height, bytes) or (…, tag 254)."""
    content, links = b"II*\0\0\0\0\0", [4]
    for width, height, data, *subfile in pages:
        tags = [(254, 4, value) for value in subfile]
        tags += [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1)]
        tags += [(262, 3, photometric), (273, 4, len(content)), (277, 3, 1), (278, 3, height)]
        tags += [(279, 4, len(data))]
        content += data + bytes(len(data) % 2)
        content = content[: links[-1]] + struct.pack("<I", len(content)) + content[links[-1] + 4 :]
        content += struct.pack("<H", len(tags))
        content += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        links.append(len(content))
        content += bytes(4)
    return content


def grey_png(depth, packed, width):
    """A grey PNG of one row."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, 1, depth, 0, 0, 0, 0)
    data = zlib.compress(b"\0" + packed)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    )


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


def test_white_of_12_bits_is_white():
    """Two samples of 12 bits in three bytes: 4095 and 0x234."""
    pixels = decode(tiff((2, 1, b"\xff\xf2\x34"), bits=12))
    assert pixels[0, :, 0].tolist() == [255, 0x234 * 255 // 4095]


def test_16_bit_samples_that_count_down_from_white():
    image = tiff((2, 1, b"\xff\xff\0\0"), bits=16, photometric=0)
    assert decode(image)[0, :, 0].tolist() == [0, 255]


def test_a_preview_is_not_taken_for_the_picture():
    small, large = (2, 2, bytes([9] * 4)), (4, 4, bytes([99] * 16))
    for pages in [
        ((*small, 1), large),
        ((*small, 1), (*large, 0)),
        (small, large),
        (large, (*small, 1)),
        ((*small, 1), (*small, 1), large),
    ]:
        pixels = decode(tiff(*pages))
        assert pixels.shape == (4, 4, 3)
        assert pixels.max() == 99


def test_the_first_of_pages_of_other_shapes_counts():
    assert decode(tiff((2, 3, bytes([9] * 6)), (8, 4, bytes([99] * 32)))).shape == (3, 2, 3)


def test_the_limit_is_of_the_page_that_counts():
    image = tiff((2, 2, bytes(4), 1), (4, 4, bytes(16)))
    with pytest.raises(ValueError, match="4 x 4 pixels, more than the limit of 15"):
        decode(image, max_pixels=15)


def test_a_preview_of_a_picture_that_is_not_read_is_refused():
    with pytest.raises(ValueError, match="holds a preview of a picture"):
        decode(tiff((2, 2, bytes(4), 1)))
    raw = tiff((2, 2, b"CR" + bytes(2)))
    with pytest.raises(ValueError, match="holds a preview of a picture"):
        decode(raw)


def test_a_damaged_second_page_leaves_the_first():
    image = tiff((2, 2, bytes([9] * 4)), (4, 4, bytes([99] * 16)))
    assert decode(image[:-60]).max() == 9


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG2000"])
def test_masks_in_formats_for_photographs_are_refused(file_format):
    with pytest.raises(ValueError, match=f"a {file_format} file, compressed as photographs"):
        decode_mask(encode(pil.fromarray(GREY), file_format))


def test_masks_in_a_tiff_with_jpeg_compression_are_refused():
    mask = encode(pil.fromarray(np.zeros((16, 16), np.uint8)), "TIFF", compression="jpeg")
    with pytest.raises(ValueError, match="the mask is a TIFF file, compressed as photographs are"):
        decode_mask(mask)
    packed = encode(pil.fromarray(GREY), "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(decode_mask(packed), GREY)


@pytest.mark.parametrize(
    ("depth", "packed", "values"),
    [(1, b"\x40", [0, 1]), (2, b"\x1b", [0, 1, 2, 3]), (4, b"\x12\xf0", [1, 2, 15, 0])],
)
def test_grey_masks_of_few_bits_hold_class_numbers(depth, packed, values):
    png = grey_png(depth, packed, len(values))
    assert decode_mask(png)[0].tolist() == values
    assert decode_mask(tiff((len(values), 1, packed), bits=depth))[0].tolist() == values


@pytest.mark.parametrize("maximum", [1, 3, 20, 200, 255])
def test_pgm_masks_hold_class_numbers(maximum):
    values = [0, 1, maximum]
    binary = b"P5 3 1 %d\n" % maximum + bytes(values)
    assert decode_mask(binary)[0].tolist() == values
    assert decode_mask(b"P2 3 1 %d\n0 1 %d\n" % (maximum, maximum))[0].tolist() == values
    deep = b"P5 3 1 4095\n" + struct.pack(">3H", *values)
    assert decode_mask(deep)[0].tolist() == values


def test_masks_that_count_down_from_white_are_refused():
    with pytest.raises(ValueError, match="counts down from white"):
        decode_mask(b"P4 8 1\n\x0f")
    with pytest.raises(ValueError, match="counts down from white"):
        decode_mask(tiff((2, 1, b"\x01\x02"), photometric=0))


def test_a_palette_with_the_colours_of_voc_in_another_order_is_refused():
    values = np.array([[0, 1, 2]], np.uint8)
    paletted = pil.fromarray(values)
    colours = voc_palette()
    paletted.putpalette(colours[[0, 15, 255]].tobytes())
    with pytest.raises(ValueError, match=r"colours in another order \(1 has that of 15\)"):
        decode_mask(encode(paletted))
    for palette in (colours, colours[:3], colours[[0, 1, 2, 9, 7]], 255 - colours[[0, 15, 255]]):
        paletted.putpalette(palette.tobytes())
        np.testing.assert_array_equal(decode_mask(encode(paletted)), values)
