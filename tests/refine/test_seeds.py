import numpy as np

from qaclims_ray.refine.seeds import cam_label_maps, label_cams, merge_labels

IMAGE = np.zeros((1, 5, 3), np.uint8)


def make_seeds(image, cams, classes, refine=None):
    """Seeds at the published thresholds."""
    return merge_labels(*cam_label_maps(image, cams, classes, (0.3, 0.1), refine=refine))


def test_seeds_are_sure_high_sure_low_or_ignored():
    cams = np.array([[[0.9, 0.2, 0.05, 0.3, 0.1]], [[0.1, 0.25, 0.0, 0.2, 0.1]]])
    assert make_seeds(IMAGE, cams, [4, 7]).tolist() == [[5, 255, 0, 255, 0]]


def test_a_threshold_that_is_met_is_background():
    assert label_cams(np.array([[[0.3, 0.31]]], np.float32), 0.3).tolist() == [[0, 1]]


def test_the_first_of_equal_cams_wins():
    assert label_cams(np.full((2, 1, 1), 0.5), 0.3).tolist() == [[1]]


def test_merge_of_all_combinations():
    strict, lenient = np.array([[0, 0, 3, 3]], np.uint8), np.array([[0, 3, 0, 3]], np.uint8)
    assert merge_labels(strict, lenient).tolist() == [[0, 255, 3, 3]]


def test_both_labellings_are_refined_with_the_image():
    calls = []

    def refine(image, labels, num_labels):
        calls.append((image is IMAGE, labels.tolist(), num_labels))
        return np.zeros_like(labels)

    cams = np.array([[[0.9, 0.2, 0.05, 0.3, 0.1]]])
    assert not make_seeds(IMAGE, cams, [4], refine=refine).any()
    assert calls == [(True, [[1, 0, 0, 0, 0]], 2), (True, [[1, 1, 0, 1, 0]], 2)]


def test_an_image_without_classes_is_background():
    assert not make_seeds(IMAGE, np.zeros((0, 1, 5)), []).any()
