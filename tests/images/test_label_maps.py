import numpy as np

from qaclims_ray.images.label_maps import label_map_row, row_label_map


def test_a_label_map_that_was_made_reduced_gets_the_size_of_its_image():
    label_map = np.array([[0, 1, 255]], np.uint8)
    row = label_map_row("a", label_map, (2, 6))
    assert (row["height"], row["width"], row["decided"]) == (2, 6, 4 / 6)
    assert np.array_equal(row_label_map(row), [[0, 0, 1, 1, 255, 255]] * 2)
    assert np.array_equal(row_label_map(label_map_row("a", label_map)), label_map)
