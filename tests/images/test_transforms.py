import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pil

from qaclims_ray.images.decode import decode_mask, encode_mask
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.images.transforms import (
    augment,
    augment_label_map,
    hflip,
    normalise,
    random_crop,
    random_resize,
    rescale,
    resize,
    view_rng,
)
from qaclims_ray.types import IGNORE, IMAGENET_MEAN, IMAGENET_STD

sides = st.integers(1, 40)


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_palette_is_vocs():
    palette = voc_palette()
    # Of the development kit: aeroplane, bicycle, person, tv monitor, void.
    assert palette[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]
    assert len(np.unique(palette, axis=0)) == 256


@settings(max_examples=25)
@given(height=sides, width=sides, seed=st.integers(0, 9))
def test_mask_survives_encoding(height, width, seed):
    label_map = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    np.testing.assert_array_equal(decode_mask(encode_mask(label_map)), label_map)


def test_encoded_mask_is_coloured(tmp_path):
    (tmp_path / "m.png").write_bytes(encode_mask(np.full((2, 2), 15, np.uint8)))
    picture = pil.open(tmp_path / "m.png")
    assert picture.mode == "P"
    assert picture.convert("RGB").getpixel((0, 0)) == (192, 128, 128)


def test_normalise_is_the_published_arithmetic():
    image = random_image(5, 7)
    published = np.empty(image.shape, np.float32)
    for channel in range(3):
        scaled = image[..., channel] / 255.0 - IMAGENET_MEAN[channel]
        published[..., channel] = scaled / IMAGENET_STD[channel]
    np.testing.assert_array_equal(normalise(image), published.transpose(2, 0, 1))


def test_normalise_takes_read_only_and_strided_pixels():
    image = random_image(6, 8)
    image.flags.writeable = False
    np.testing.assert_array_equal(normalise(image[::2, ::-1]), normalise(image)[:, ::2, ::-1])


def test_resize_is_bicubic_and_leaves_its_own_size_alone():
    image = random_image(9, 12)
    expected = np.asarray(pil.fromarray(image).resize((6, 4), pil.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(image, 4, 6), expected)
    assert resize(image, 9, 12) is image


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((375, 500), 0.5, (188, 250)), ((5, 7), 0.5, (2, 4)), ((1, 300), 0.01, (1, 3))],
)
def test_rescaled_size_is_rounded_to_even_as_published(size, scale, expected):
    assert rescale(random_image(*size), scale).shape[:2] == expected


@settings(max_examples=30)
@given(height=sides, width=sides, seed=st.integers(0, 999))
def test_long_side_lies_in_the_range_and_the_aspect_is_kept(height, width, seed):
    out = random_resize(random_image(height, width), np.random.default_rng(seed), 20, 30)
    assert 20 <= max(out.shape[:2]) <= 30
    scale = max(out.shape[:2]) / max(height, width)
    assert abs(out.shape[0] - max(1, height * scale)) <= 0.5 + 1e-9
    assert abs(out.shape[1] - max(1, width * scale)) <= 0.5 + 1e-9


def test_both_ends_of_the_range_occur():
    rng = np.random.default_rng(0)
    seen = {random_resize(random_image(4, 4), rng, 5, 7).shape[0] for _ in range(50)}
    assert seen == {5, 6, 7}


def test_flip_twice_is_nothing():
    image = random_image(3, 4)
    np.testing.assert_array_equal(hflip(hflip(image)), image)
    np.testing.assert_array_equal(hflip(image)[:, 0], image[:, -1])


@settings(max_examples=60)
@given(height=sides, width=sides, size=sides, seed=st.integers(0, 999))
def test_crop_holds_one_window_and_fill_elsewhere(height, width, size, seed):
    array = np.arange(1, height * width + 1).reshape(1, height, width)
    out = random_crop(array, size, np.random.default_rng(seed))
    assert out.shape == (1, size, size)
    rows, columns = np.nonzero(out[0])
    assert len(rows) == min(height, size) * min(width, size)
    window = out[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    top, left = divmod(window[0, 0] - 1, width)
    height_in, width_in = window.shape
    np.testing.assert_array_equal(window, array[0, top : top + height_in, left : left + width_in])


def test_crop_reaches_every_place():
    rng = np.random.default_rng(0)
    inside = {int(random_crop(np.arange(5.0)[None], 1, rng)[0, 0]) for _ in range(99)}
    assert inside == {0, 1, 2, 3, 4}
    outside = {tuple(np.argwhere(random_crop(np.ones((1, 1)), 2, rng))[0]) for _ in range(99)}
    assert outside == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_an_image_and_its_label_map_are_cropped_alike():
    label_map = np.random.default_rng(0).integers(0, 20, (30, 50), np.uint8)
    pixels = np.repeat(label_map[None].astype(np.float32) + 1, 3, axis=0)
    for seed in range(20):
        cut = random_crop(label_map, 40, np.random.default_rng(seed), IGNORE)
        image = random_crop(pixels, 40, np.random.default_rng(seed))
        np.testing.assert_array_equal(image[0] == 0, cut == IGNORE)
        np.testing.assert_array_equal(image[0][cut != IGNORE] - 1, cut[cut != IGNORE])


def views(image, **changes):
    arguments = {"seed": 3, "epoch": 1, "name": "a", "resize_long": (40, 80), "crop": 64}
    return augment(image, **(arguments | changes))


def test_a_view_depends_on_seed_epoch_and_name_only():
    image = random_image(30, 50)
    first = views(image)
    np.random.default_rng().random()
    np.testing.assert_array_equal(views(image), first)
    for changed in ({"seed": 4}, {"epoch": 2}, {"name": "b"}):
        assert not np.array_equal(views(image, **changed), first)


def test_a_view_is_the_same_on_every_machine():
    """A fixed number: another NumPy or another platform must not change a training run."""
    assert view_rng(0, 0, "2007_000032").integers(0, 2**31, 3).tolist() == [
        1029324495,
        263555856,
        45111660,
    ]


def test_views_of_the_demo_are_the_image_or_its_mirror_image():
    image = random_image(96, 96)
    both = {normalise(image).tobytes(): 0, normalise(hflip(image)).tobytes(): 0}
    for epoch in range(60):
        view = views(image, epoch=epoch, resize_long=None, crop=None)
        both[view.tobytes()] += 1
    assert min(both.values()) > 15
    same = views(image, resize_long=None, crop=None, flip=False)
    np.testing.assert_array_equal(same, normalise(image))


@settings(max_examples=20)
@given(height=sides, width=sides, epoch=st.integers(0, 99), flipped=st.booleans())
def test_a_view_has_the_crop_size_and_its_padding_is_the_mean_colour(height, width, epoch, flipped):
    image = np.zeros((height, width, 3), np.uint8)  # black is far from the mean
    view = views(image, epoch=epoch, flip=flipped)
    assert view.shape == (3, 64, 64)
    assert view.dtype == np.float32
    black = normalise(image[:1, :1])
    assert np.all((view == black) | (view == 0))
    assert np.any(view == black)


def test_the_image_is_not_changed():
    image = random_image(20, 30)
    before = image.copy()
    views(image)
    np.testing.assert_array_equal(image, before)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    epoch=st.integers(0, 99),
    size=st.sampled_from([{}, {"resize_long": (40, 80)}, {"scale": (0.5, 1.5)}]),
)
def test_a_label_map_is_seen_as_its_image_is(height, width, epoch, size):
    """Four quarters in four colours: labels follow them everywhere but next to their borders."""
    label_map = np.ones((height, width), np.uint8)
    label_map[height // 3 :] += 1
    label_map[:, width // 3 :] += 2
    colours = np.array([[0, 0, 0], [0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 0]], np.uint8)
    options = {"seed": 3, "epoch": epoch, "name": "a", "crop": 64, "resize_long": None, **size}
    pixels = augment(colours[label_map], **options)
    seen = augment_label_map(label_map, **options)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen == IGNORE, (pixels == 0).all(axis=0))
    assert set(np.unique(seen)) <= {1, 2, 3, 4, IGNORE}
    found = 1 + (pixels[0] > 0) + 2 * (pixels[1] > 0)
    wrong = (found != seen) & (seen != IGNORE)
    assert wrong.sum() <= (2 * 2 * 64 if size else 0)
    before = label_map.copy()
    augment_label_map(label_map, **options)
    np.testing.assert_array_equal(label_map, before)


def test_labels_are_those_of_the_nearest_pixel():
    label_map = np.array([[3, 200], [7, IGNORE]], np.uint8)
    large = resize(label_map, 4, 4, pil.Resampling.NEAREST)
    np.testing.assert_array_equal(large, label_map.repeat(2, axis=0).repeat(2, axis=1))
