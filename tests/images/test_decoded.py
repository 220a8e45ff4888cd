import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as pil

from qaclims_ray.images import decoded
from qaclims_ray.images.decoded import (
    Fit,
    decode_row,
    decode_table,
    decode_tables,
    images_of,
)
from tests.build import png

RANDOM = np.random.default_rng(0)


def _row(name, image):
    return {"name": name, "image": image, "labels": [2]}


def test_pixels_arrive_as_they_are():
    images = [RANDOM.integers(0, 256, (height, 5, 3)).astype(np.uint8) for height in (1, 7)]
    table = pa.Table.from_pylist([_row(str(i), png(image)) for i, image in enumerate(images)])
    rows = decode_table(table).to_pylist()
    assert [(row["name"], row["labels"], row["error"]) for row in rows] == [
        ("0", [2], None), ("1", [2], None)
    ]  # fmt: skip
    for seen, image in zip(images_of(rows), images, strict=True):
        np.testing.assert_array_equal(seen, image)


def test_an_image_leaves_the_task_at_the_size_that_a_network_sees():
    image = RANDOM.integers(0, 256, (6, 9, 3)).astype(np.uint8)
    fit = Fit(4, 5, int(pil.Resampling.BICUBIC))
    (row,) = decode_table(pa.Table.from_pylist([_row("a", png(image))]), fit=fit).to_pylist()
    (seen,) = images_of([row])
    expected = pil.fromarray(image).resize((5, 4), pil.Resampling.BICUBIC)
    np.testing.assert_array_equal(seen, np.array(expected))
    assert fit(seen) is seen


def test_what_cannot_be_decoded_says_why_and_keeps_its_place():
    whole = png(np.zeros((4, 4, 3), np.uint8))
    rows = [_row("a", whole), _row("b", whole[:30]), _row("c", b""), _row("d", whole)]
    decoded = decode_table(pa.Table.from_pylist(rows)).to_pylist()
    assert [row["name"] for row in decoded] == ["a", "b", "c", "d"]
    assert [row["pixels"] == b"" for row in decoded] == [False, True, True, False]
    assert all(row["error"].startswith("ValueError: ") for row in decoded[1:3])


def test_an_image_that_is_too_large_is_an_error():
    row = decode_row(_row("a", png(np.zeros((4, 4, 3), np.uint8))), max_pixels=15)
    assert "pixels" in row["error"]
    assert images_of([row])[0].shape == (0, 0, 3)


@pytest.mark.parametrize("error", [OSError("torn"), MemoryError("8 GB"), ValueError("odd")])
def test_whatever_goes_wrong_with_an_image_costs_no_other(monkeypatch, error):
    def decode(image, max_pixels):
        if image == b"bad":
            raise error
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(decoded, "decode", decode)
    rows = decode_table(pa.Table.from_pylist([_row("a", b"good"), _row("b", b"bad")])).to_pylist()
    assert [row["error"] for row in rows] == [None, f"{type(error).__name__}: {error}"]


def test_pixels_are_held_once_but_for_one_image():
    """Arrow's memory is not traced, so that what is seen is beside the one copy."""
    image = np.zeros((500, 1000, 3), np.uint8)
    table = pa.Table.from_pylist([_row(str(number), png(image)) for number in range(12)])
    tracemalloc.start()
    rows = decode_table(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows["pixels"].nbytes >= 12 * image.nbytes
    assert peak < 5 * image.nbytes


def test_many_small_images_come_in_one_table_and_large_ones_in_tables_of_their_own():
    large, small = (png(np.zeros((side, side, 3), np.uint8)) for side in (1200, 8))
    images = [large, *[small] * 40, large, large]
    table = pa.Table.from_pylist([_row(str(at), image) for at, image in enumerate(images)])
    made = list(decode_tables(table))
    assert [len(one) for one in made] == [1, 41, 1]
    names = [name for one in made for name in one["name"].to_pylist()]
    assert names == [str(at) for at in range(43)]


def test_no_rows_are_none():
    empty = pa.table({"name": pa.array([], pa.string()), "image": pa.array([], pa.binary())})
    assert decode_table(empty).num_rows == 0
