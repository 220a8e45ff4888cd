import numpy as np

from qaclims_ray.report.pictures import choose, label_map_picture, overlay


def test_images_are_chosen_evenly_and_show_all_classes():
    names = [f"{i:02d}" for i in range(20)]
    labels = [[0]] * 20
    assert choose(names, labels, 4) == ["00", "05", "10", "15"]
    labels[13] = [0, 1]
    labels[18] = [2]
    chosen = choose(names, labels, 4)
    assert {"13", "18"} < set(chosen)
    assert len(chosen) == 4
    assert choose(names, labels, 50) == names
    assert choose([], [], 4) == []


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
