import numpy as np
import pytest

from qaclims_ray.metrics.confusion import levels, overlap, sweep
from qaclims_ray.metrics.counts import dense, tally

THRESHOLDS, NUM_CLASSES = (0.2, 0.5, 0.8), 6


@pytest.fixture
def counts(truth):
    """CAMs of a cat (1) and a boat (4); the image holds a cat and a dog (2)."""
    cams = np.random.default_rng(0).random((2, *truth.shape)).astype(np.float32)
    found = tally(*levels(cams, [0, 3], THRESHOLDS), truth, len(THRESHOLDS), NUM_CLASSES)
    return found, sweep(cams, [0, 3], truth, THRESHOLDS, NUM_CLASSES)


def test_only_the_classes_that_are_true_or_predicted_are_kept(counts):
    found, _ = counts
    assert found.classes.tolist() == [0, 1, 2, 4]
    assert found.areas.shape == (3, 4, 4)


def test_they_are_the_counts_of_all_classes_without_the_others(counts):
    found, everything = counts
    spread = np.zeros_like(everything)
    spread[:, found.classes[:, None], found.classes] = found.areas
    np.testing.assert_array_equal(spread, everything)


def test_dense_counts_are_those_of_the_chosen_thresholds_with_zeros_elsewhere(counts):
    found, everything = counts
    values = dense(found, NUM_CLASSES, [2, 0])
    assert values.shape == (2, 2, 3, NUM_CLASSES + 1)
    np.testing.assert_array_equal(values[:, 0], np.stack(overlap(everything), axis=1)[[2, 0]])
    np.testing.assert_array_equal(values[:, 1, 0, found.classes], found.boundaries.hits[[2, 0]])
    np.testing.assert_array_equal(values[0, 1, 2], values[1, 1, 2])
    assert not values[..., [3, 5, 6]].any()


def test_an_image_of_background_has_that_class_alone():
    empty = np.zeros((3, 3), int)
    found = tally(empty, empty, np.zeros((3, 3), np.uint8), 2, NUM_CLASSES)
    assert found.classes.tolist() == [0]
    assert found.areas.tolist() == [[[9]], [[9]]]


def test_classes_out_of_range_are_errors(truth):
    winner = np.full(truth.shape, 7)
    with pytest.raises(ValueError, match=r"prediction holds \[7\]; legal are .* 6 "):
        tally(winner, winner, truth, 1, NUM_CLASSES)
    with pytest.raises(ValueError, match=r"ground truth holds \[2\]"):
        tally(0 * winner, winner, truth, 1, 1)
