import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qaclims_ray.metrics import confusion as c

NUM_CLASSES = 4


def _loop(cams, classes, truth, thresholds):
    """The published way: one argmax and one count per threshold."""
    values = np.array([0, *(index + 1 for index in classes)])
    matrices = []
    for threshold in thresholds:
        floor = np.full((1, *truth.shape), threshold, dtype=cams.dtype)
        prediction = values[np.concatenate([floor, cams]).argmax(0)]
        matrices.append(c.count(prediction, truth, NUM_CLASSES))
    return np.stack(matrices)


@st.composite
def _images(draw):
    """Few levels, so that ties of CAMs and thresholds are frequent."""
    classes = draw(st.permutations(range(NUM_CLASSES)))[: draw(st.integers(0, NUM_CLASSES))]
    height, width = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    levels = draw(hnp.arrays(np.int64, (len(classes), height, width), elements=st.integers(0, 4)))
    known = st.sampled_from([*range(NUM_CLASSES + 1), 255])
    truth = draw(hnp.arrays(np.uint8, (height, width), elements=known))
    return (levels / 4).astype(draw(st.sampled_from(["f2", "f4", "f8"]))), classes, truth


@settings(max_examples=60, deadline=None)
@given(_images(), st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), max_size=6))
def test_sweep_equals_the_loop_over_thresholds(image, thresholds):
    thresholds = [0.3, *thresholds]
    actual = c.sweep(*image, thresholds, NUM_CLASSES)
    np.testing.assert_array_equal(actual, _loop(*image, thresholds))


@given(_images())
def test_every_known_pixel_counts_once_at_each_threshold(image):
    total = c.sweep(*image, [0.1, 0.9], NUM_CLASSES).sum((1, 2))
    assert (total == (image[2] != 255).sum()).all()


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "u4"])
def test_truth_may_be_of_any_integer_type(dtype):
    truth = np.array([[0, 1], [4, 255]]).astype(dtype)
    counts = c.count(np.array([[0, 1], [3, 2]]), truth, NUM_CLASSES)
    assert counts[0, 0] == counts[1, 1] == counts[4, 3] == 1
    assert counts.sum() == 3


def test_signed_bytes_spell_ignore_as_minus_one():
    truth = np.array([[0, 255]], dtype=np.uint8).view(np.int8)
    assert c.count(np.zeros((1, 2), int), truth, NUM_CLASSES).sum() == 1


def test_predicted_ignore_counts_as_background():
    counts = c.count(np.array([[255, 1]], np.uint8), np.array([[2, 1]], np.uint8), NUM_CLASSES)
    assert counts[2, 0] == counts[1, 1] == 1


@pytest.mark.parametrize("wrong", [5, 254, -2])
def test_truth_out_of_range_is_an_error_that_names_it(wrong):
    with pytest.raises(ValueError, match=rf"ground truth holds \[{wrong}\]; legal are .* 4 "):
        c.count(np.zeros((1, 2), int), np.array([[0, wrong]]), NUM_CLASSES)


def test_predictions_out_of_range_are_errors():
    truth = np.zeros((1, 1), np.uint8)
    with pytest.raises(ValueError, match=r"prediction holds \[9\]"):
        c.count(np.array([[9]]), truth, NUM_CLASSES)
    with pytest.raises(ValueError, match=r"class of a CAM holds \[5\]"):
        c.sweep(np.ones((1, 1, 1)), [4], truth, [0.5], NUM_CLASSES)


def test_sizes_must_agree():
    truth = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(2, 3\) pixels for a prediction of \(1, 3\)"):
        c.count(np.zeros((1, 3), int), truth, NUM_CLASSES)
    with pytest.raises(ValueError, match=r"\(2, 3\) pixels for a prediction of \(1, 3\)"):
        c.sweep(np.zeros((1, 1, 3)), [0], truth, [0.5], NUM_CLASSES)


def test_scores_of_a_small_matrix():
    counts = np.array([[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(c.iou(counts), [6 / 9, 3 / 7, np.nan, 0])
    np.testing.assert_allclose(c.mean_iou(counts), (6 / 9 + 3 / 7) / 3)
    np.testing.assert_allclose(c.mean_iou(counts, "skip"), (6 / 9 + 3 / 7) / 2)
    np.testing.assert_allclose(c.mean_iou(c.overlap(counts), "skip"), (6 / 9 + 3 / 7) / 2)
    np.testing.assert_allclose(c.precision(counts), [6 / 7, 3 / 5, np.nan, 0])
    np.testing.assert_allclose(c.recall(counts), [6 / 8, 3 / 5, np.nan, np.nan])
    np.testing.assert_allclose(c.false_positives(counts), [1 / 9, 2 / 7, np.nan, 1])
    np.testing.assert_allclose(c.false_negatives(counts), [2 / 9, 2 / 7, np.nan, 0])
    np.testing.assert_allclose(c.false_foreground(counts), 2 / 6)


@given(hnp.arrays(np.int64, (3, 4, 4), elements=st.integers(0, 5)))
def test_errors_and_iou_sum_to_one(counts):
    parts = c.iou(counts) + c.false_positives(counts) + c.false_negatives(counts)
    np.testing.assert_allclose(parts[~np.isnan(parts)], 1)


def test_nothing_counted_has_no_score():
    counts = np.zeros((2, 3, 3), int)
    assert np.isnan(c.mean_iou(counts)).all()


def test_best_threshold_passes_over_a_local_maximum():
    good, bad = np.diag([9, 9]), np.array([[5, 4], [4, 5]])
    worst = np.array([[0, 9], [9, 0]])
    counts = np.stack([worst, bad, worst, good, good])
    assert c.best_threshold(counts, [0.1, 0.2, 0.3, 0.4, 0.5]) == (0.4, 1.0)


def test_the_best_threshold_depends_on_what_absent_classes_count():
    counts = np.array([[[8, 0, 1], [0, 1, 0], [0, 0, 0]], [[7, 2, 0], [0, 1, 0], [0, 0, 0]]])
    assert c.best_threshold(counts, [0.1, 0.2]) == (0.1, pytest.approx((8 / 9 + 1 + 0) / 3))
    assert c.best_threshold(counts, [0.1, 0.2], "skip") == (0.1, pytest.approx((8 / 9 + 1) / 2))
    absent = np.array([[[8, 0, 9], [0, 5, 0], [0, 0, 0]], [[17, 0, 0], [2, 3, 0], [0, 0, 0]]])
    assert c.best_threshold(absent, [0.1, 0.2])[0] == 0.2
