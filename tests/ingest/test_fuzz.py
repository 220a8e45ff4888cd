"""Damaged files: each is read or recorded; nothing crashes, nothing hangs."""

import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.ingest.sources import Source, load
from qaclims_ray.storage.errors import attempt, separate
from tests.build import encode, exif, photo

SIZE = (33, 47)


def originals():
    picture = pil.fromarray(photo(*SIZE))
    alpha = picture.copy()
    alpha.putalpha(128)
    deep = pil.fromarray(np.array(picture.convert("L")).astype(np.uint16) * 257)
    turned = exif(6)
    return [
        encode(picture, "JPEG"),
        encode(picture, "JPEG", progressive=True, exif=turned),
        encode(picture.convert("CMYK"), "JPEG"),
        encode(picture.convert("L"), "JPEG", restart_marker_rows=1),
        encode(picture, "PNG", exif=turned),
        encode(picture.convert("P"), "PNG", transparency=3),
        encode(deep, "PNG"),
        encode(alpha, "PNG"),
        encode(picture.convert("1"), "PNG"),
    ]


def cut(data, rng):
    return data[: rng.integers(len(data))]


def flip_bits(data, rng):
    for place in rng.integers(0, len(data), rng.integers(1, 30)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def damage_header(data, rng):
    for place in rng.integers(2, min(200, len(data)), 4):
        data[place] = rng.integers(256)
    return data


def lose_a_piece(data, rng):
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:start] + data[end:]


def repeat_a_piece(data, rng):
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:end] + data[start:]


def blank_a_piece(data, rng):
    start, end = sorted(rng.integers(0, len(data), 2))
    data[start:end] = bytes(end - start)
    return data


def change_a_chunk(data, rng):
    """Of a PNG, with a checksum that is right: the damage reaches the decoder."""
    position, chunks = 8, []
    while data[:4] == b"\x89PNG" and position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        chunks.append((position, length))
        position += length + 12
    if not chunks:
        return flip_bits(data, rng)
    position, length = chunks[rng.integers(len(chunks))]
    for place in rng.integers(0, max(length, 1), 3):
        data[position + 8 + place] = rng.integers(256)
    content = data[position + 4 : position + 8 + length]
    data[position + 8 + length : position + 12 + length] = struct.pack(">I", zlib.crc32(content))
    return data


DAMAGES = [
    cut,
    flip_bits,
    damage_header,
    lose_a_piece,
    repeat_a_piece,
    blank_a_piece,
    change_a_chunk,
    lambda data, rng: b"",
    lambda data, rng: data + rng.bytes(99),
    lambda data, rng: rng.bytes(len(data)),
]


def damaged(number):
    files = originals()
    for i in range(number):
        rng = np.random.default_rng(i)
        yield DAMAGES[i % len(DAMAGES)](bytearray(files[rng.integers(len(files))]), rng)


def count(outcomes):
    rows, errors = separate((str(i), outcome) for i, outcome in enumerate(outcomes))
    assert all(reason for _, reason in errors)
    return rows, errors


@pytest.mark.filterwarnings("ignore")
def test_a_thousand_damaged_images_are_read_or_recorded(tmp_path):
    outcomes = []
    for i, content in enumerate(damaged(1000)):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(content)
        source = Source(name=str(i), image=str(path), labels=[0], mask=None, annotations=None)
        outcomes.append(attempt(load, source, num_classes=1, max_pixels=1_000_000))
    rows, errors = count(outcomes)
    assert len(rows) + len(errors) == 1000
    assert len(rows) > 100
    assert len(errors) > 400
    for row in rows:
        assert decode(row["image"]).shape == (row["height"], row["width"], 3)
    print(Counter(reason.split(": ")[1] for _, reason in errors).most_common(9))


@pytest.mark.filterwarnings("ignore")
def test_damaged_masks_are_read_or_recorded():
    values = np.random.default_rng(0).integers(0, 5, (20, 30), np.uint8)
    paletted = pil.fromarray(values)
    paletted.putpalette(list(range(256)) * 3)
    files = [encode(pil.fromarray(values)), encode(paletted, bits=4)]
    outcomes = []
    for i in range(300):
        rng = np.random.default_rng(i)
        content = bytes(DAMAGES[i % len(DAMAGES)](bytearray(files[i % 2]), rng))
        outcomes.append(attempt(decode_mask, content, max_pixels=10_000))
    masks, errors = count(outcomes)
    assert len(masks) + len(errors) == 300
    assert min(len(masks), len(errors)) > 20
