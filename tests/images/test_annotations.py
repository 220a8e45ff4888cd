"""Label maps to the files of label tools and back."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qaclims_ray.images.coco import coco_regions
from qaclims_ray.images.decode import encode_mask
from qaclims_ray.images.labelme import labelme_json, read_labelme
from qaclims_ray.images.yolo import read_yolo, yolo_lines
from qaclims_ray.ingest.rasterise import rasterise
from qaclims_ray.types import IGNORE

NAMES = ("cat", "dog", "Hündin")
label_maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, 3, IGNORE]))
)


@given(label_maps)
@settings(deadline=None)
def test_labelme_brings_back_every_pixel(label_map):
    assert np.array_equal(read_labelme(labelme_json(label_map, NAMES, "a.jpg"), NAMES), label_map)


@given(label_maps)
@settings(deadline=None)
def test_yolo_and_coco_bring_back_every_pixel_that_is_decided(label_map):
    decided = np.where(label_map == IGNORE, 0, label_map)
    assert np.array_equal(read_yolo(yolo_lines(label_map), label_map.shape, 3), decided)
    regions = [{**one, "label": one["category_id"] - 1} for one in coco_regions(label_map)]
    height, width = label_map.shape
    assert np.array_equal(rasterise(regions, height=height, width=width), decided)


def test_a_yolo_line_is_a_class_and_shares():
    label_map = np.zeros((4, 8), np.uint8)
    label_map[1:3, 2:4] = 3
    (line,) = yolo_lines(label_map).splitlines()
    words = line.split()
    assert words[0] == "2"
    corners = np.array(words[1:], float).reshape(-1, 2)
    assert sorted(corners.tolist()) == [[0.25, 0.25], [0.25, 0.75], [0.5, 0.25], [0.5, 0.75]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.2 0.2", "line 2: 4 numbers are a box"),
        ("0 0.5 0.5 0.2 0.2 0.1", "6 words: expected a class index"),
        ("3 0 0 1 0 1 1", "class index 3 is not in 0 to 2"),
        ("0 0 0 9 0 9 9", "shares of width and height"),
        ("0 0 0 nan 0 1 1", "shares of width and height"),
        ("cat 0 0 1 0 1 1", "invalid literal"),
    ],
)
def test_lines_that_are_no_polygon_are_named(line, said):
    with pytest.raises(ValueError, match=said):
        read_yolo(f"\n{line}\n", (4, 4), 3)


def _drawn(**shape):
    shape = {"label": "dog", "shape_type": "polygon", "points": [], **shape}
    about = {"shapes": [shape], "imageHeight": 4, "imageWidth": 6}
    return read_labelme(json.dumps(about), NAMES)


def test_shapes_that_people_draw_are_read():
    expected = np.zeros((4, 6), np.uint8)
    expected[1:3, 2:5] = 2
    assert np.array_equal(_drawn(shape_type="rectangle", points=[[5, 3], [2, 1]]), expected)
    png = base64.b64encode(encode_mask(np.ones((2, 3), np.uint8))).decode()
    masked = _drawn(shape_type="mask", points=[[2, 1], [4, 2]], mask=png)
    assert np.array_equal(masked, expected)
    circle = _drawn(shape_type="circle", points=[[3, 2], [3, 3.1]])
    assert circle.astype(bool).sum() == 4
    assert (_drawn(label="__ignore__", points=[[0, 0], [6, 0], [6, 4], [0, 4]]) == IGNORE).all()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"label": "dgo"}, "shape 1: 'dgo' is no class; classes are cat, dog"),
        ({"shape_type": "line", "points": [[0, 0], [1, 1]]}, "a line of 2 points covers no pixels"),
        ({"points": [[0, 0], [99, 0], [0, 99]]}, "far outside the image of 6 x 4"),
        ({"points": [[0, 0], ["x", 0]]}, "shape 1"),
        ({"shape_type": "mask", "points": [[5, 0], [9, 1]], "mask": "eA=="}, "shape 1"),
    ],
)
def test_shapes_that_are_of_no_use_are_named(shape, said):
    with pytest.raises(ValueError, match=said):
        _drawn(**shape)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"shapes": 3}'])
def test_another_file_is_none_of_labelme(text):
    with pytest.raises(ValueError, match="no file of LabelMe"):
        read_labelme(text, NAMES)
