import numpy as np
import pytest

from qaclims_ray.evaluate.rows import (
    dense,
    pack,
    score_cams,
    score_label_map,
    tally,
    unpack,
    unscored,
)
from qaclims_ray.metrics.confusion import levels, overlap, sweep

THRESHOLDS, NUM_CLASSES = (0.2, 0.5, 0.8), 3


def _same(one, other):
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_array_equal(one.areas, other.areas)
    for part, expected in zip(one.boundaries, other.boundaries, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_counts_come_back_as_they_were(truth):
    cams = np.random.default_rng(0).random((2, *truth.shape)).astype(np.float32)
    counts = tally(*levels(cams, [0, 2], THRESHOLDS), truth, len(THRESHOLDS), NUM_CLASSES)
    _same(unpack(pack("a", counts)), counts)


def test_an_image_that_is_not_scored_has_no_counts():
    assert unpack(unscored("a")) is None


def test_each_image_is_scored_by_its_own_ground_truth(truth, make, png):
    rng = np.random.default_rng(0)
    rows = [make.cam_row(name, [0, 1], rng.random((2, 6, 8))) for name in "abc"]
    masks = {"a": png(truth), "c": png(np.roll(truth, 1))}
    found = score_cams(rows, masks, THRESHOLDS, NUM_CLASSES)
    assert [row["name"] for row in found] == ["a", "b", "c"]
    assert found[1] == unscored("b")
    assert found[0] == score_cams(rows[:1], masks, THRESHOLDS, NUM_CLASSES)[0]
    swapped = {"a": masks["c"]}
    assert found[0] != score_cams(rows[:1], swapped, THRESHOLDS, NUM_CLASSES)[0]


class TestLabelMap:
    @pytest.fixture
    def score(self, png, truth):
        def score(label_map, unsure="background"):
            return score_label_map("a", label_map, png(truth), NUM_CLASSES, unsure)

        return score

    def test_a_predicted_255_counts_as_background(self, score, truth):
        assert score(truth) == score(np.where(truth == 255, 0, truth).astype(np.uint8))
        wrong = np.where(truth == 1, 255, truth).astype(np.uint8)
        assert score(wrong) == score(np.where(truth == 1, 0, truth).astype(np.uint8))

    def test_a_predicted_255_may_count_nowhere(self, score, truth):
        unsure = np.where(truth == 1, 255, truth).astype(np.uint8)
        counts = unpack(score(unsure, "ignore"))
        assert counts.classes.tolist() == [0, 2]
        assert counts.areas.tolist() == [np.diag([33, 8]).tolist()]

    def test_a_perfect_one_has_hits_only(self, score, truth):
        counts = unpack(score(truth))
        assert counts.classes.tolist() == [0, 1, 2]
        assert counts.areas.tolist() == [np.diag([33, 6, 8]).tolist()]

    def test_its_size_must_be_that_of_the_ground_truth(self, score, truth):
        with pytest.raises(ValueError, match=r"ground truth of \(6, 8\) pixels for .*\(6, 7\)"):
            score(truth[:, :-1])

    def test_its_values_must_be_classes(self, score, truth):
        with pytest.raises(ValueError, match=r"prediction holds \[9\]; legal are .* 3 "):
            score(np.where(truth == 1, 9, truth).astype(np.uint8))


SIX = 6
"""Classes, of which few are in an image."""


@pytest.fixture
def counts(truth):
    """CAMs of a cat (1) and a boat (4); the image holds a cat and a dog (2)."""
    cams = np.random.default_rng(0).random((2, *truth.shape)).astype(np.float32)
    found = tally(*levels(cams, [0, 3], THRESHOLDS), truth, len(THRESHOLDS), SIX)
    return found, sweep(cams, [0, 3], truth, THRESHOLDS, SIX)


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
    values = dense(found, SIX, [2, 0])
    assert values.shape == (2, 2, 3, SIX + 1)
    np.testing.assert_array_equal(values[:, 0], np.stack(overlap(everything), axis=1)[[2, 0]])
    np.testing.assert_array_equal(values[:, 1, 0, found.classes], found.boundaries.hits[[2, 0]])
    np.testing.assert_array_equal(values[0, 1, 2], values[1, 1, 2])
    assert not values[..., [3, 5, 6]].any()


def test_an_image_of_background_has_that_class_alone():
    empty = np.zeros((3, 3), int)
    found = tally(empty, empty, np.zeros((3, 3), np.uint8), 2, SIX)
    assert found.classes.tolist() == [0]
    assert found.areas.tolist() == [[[9]], [[9]]]


def test_classes_out_of_range_are_errors(truth):
    winner = np.full(truth.shape, 7)
    with pytest.raises(ValueError, match=r"prediction holds \[7\]; legal are .* 6 "):
        tally(winner, winner, truth, 1, SIX)
    with pytest.raises(ValueError, match=r"ground truth holds \[2\]"):
        tally(0 * winner, winner, truth, 1, 1)
