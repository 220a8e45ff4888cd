import numpy as np

from qaclims_ray.report.pictures import (
    cam_label_map,
    label_map_picture,
    mask_overlay,
    overlay,
)
from qaclims_ray.types import CamRow


def test_an_overlay_outlines_the_region_above_the_threshold():
    cam = np.zeros((6, 6), np.float32)
    cam[2:4, 2:4] = 1
    image = np.full((6, 6, 3), 100, np.uint8)
    white = (overlay(image, cam, 0.5) == 255).all(axis=2)
    assert white[2, 2]
    assert not white[:2].any()
    assert not (overlay(image, cam, 1.0) == 255).all(axis=2).any()


def test_a_label_map_is_drawn_at_the_size_of_the_image_on_light_grey(png):
    label_map = np.array([[0, 1], [255, 0]], np.uint8)
    shown = label_map_picture(np.zeros((4, 4, 3), np.uint8), png(label_map))
    assert shown.shape == (4, 4, 3)
    assert (shown[:2, :2] == 238).all()
    assert shown[0, 3].tolist() == [128, 0, 0]


def test_a_mask_lies_in_its_colours_over_the_image():
    image = np.full((2, 3, 3), 100, np.uint8)
    label_map = np.array([[0, 1, 255], [0, 0, 2]], np.uint8)
    shown = mask_overlay(image, label_map)
    assert (shown[label_map == 0] == 100).all()
    assert shown[0, 1].tolist() == [round(45 + 0.55 * 128), 45, 45]  # VOC's dark red
    assert shown[0, 2].tolist() == [round(45 + 0.55 * 255)] * 3


def test_the_label_map_of_cams_is_the_strongest_class_above_the_threshold():
    cams = np.array([[[0.2, 0.9]], [[0.1, 0.95]]], np.float16)
    row = CamRow(
        name="a",
        height=1,
        width=2,
        classes=[3, 5],
        cam=cams.tobytes(),
        cam_height=1,
        cam_width=2,
    )
    assert cam_label_map(row, 0.5).tolist() == [[0, 6]]
    empty = CamRow({**row, "classes": [], "cam": b""})
    assert cam_label_map(empty, 0.5).tolist() == [[0, 0]]
