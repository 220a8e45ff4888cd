import numpy as np
import pytest

from qaclims_ray.evaluate.rows import tally
from qaclims_ray.metrics.bootstrap import interval, resample
from qaclims_ray.report.paired import compare, joint

TRUTH = [1, 1, 0, 0, 2, 2]


def counts(predicted, truth):
    winner = np.array([predicted])
    return tally(winner, (winner > 0).astype(int), np.array([truth], np.uint8), 1, 3)


def side(predictions, truth=TRUTH):
    return [(name, counts(one, truth)) for name, one in predictions.items()]


def both(first, second):
    return compare([side(first), side(second)], [[0], [0]], 3, "zero")


def test_only_images_of_all_runs_are_gone_through_together():
    first, second = {"a": TRUTH, "c": TRUTH}, {"b": TRUTH, "c": TRUTH, "d": TRUTH}
    found = list(joint([side(first), side(second)]))
    assert [name for name, _ in found] == ["c"]
    assert len(found[0][1]) == 2
    assert both({"a": TRUTH}, {"b": TRUTH}) is None


def test_a_run_differs_from_itself_by_nothing():
    runs = {"a": TRUTH, "b": [1, 0, 0, 0, 2, 0]}
    found = both(runs, runs)
    assert found is not None
    assert (found.num_images, found.num_other_truth) == (2, 0)
    assert not found.difference.any()
    assert not found.bounds.any()
    assert found.apart[0].spread == 0


def test_the_difference_is_that_of_the_scores_and_its_interval_is_paired():
    """Images of unlike difficulty, each a little better in the second run."""
    rng = np.random.default_rng(0)
    truths = {f"{i:03d}": rng.integers(0, 3, 40).tolist() for i in range(60)}
    wrong = {name: rng.random(40) < rng.random() for name in truths}
    first = {n: np.where(wrong[n], 0, t).tolist() for n, t in truths.items()}
    second = {n: np.where(wrong[n] & (np.arange(40) > 3), 0, t).tolist() for n, t in truths.items()}
    sides = [[(n, counts(run[n], truths[n])) for n in truths] for run in (first, second)]
    found = compare(sides, [[0], [0]], 3, "zero")
    assert found is not None
    assert found.difference[0, 0] == 0
    assert found.difference[1, 0] == pytest.approx(found.miou[1, 0] - found.miou[0, 0])
    low, high = found.bounds[:, 1, 0]
    assert 0 < low < found.difference[1, 0] < high
    hits = [[sum(np.equal(run[n], truths[n])) for run in (first, second)] for n in truths]
    sums = resample([np.array(hits)])
    shares = sums / (40 * 60)
    bounds = interval(shares, shares.mean(axis=0))
    assert high - low < (bounds[1] - bounds[0]).max()


def test_images_of_other_ground_truth_are_left_out():
    second = [("a", counts(TRUTH, TRUTH)), ("b", counts(TRUTH, [0, 0, 0, 0, 2, 2]))]
    found = compare([side({"a": TRUTH, "b": TRUTH}), second], [[0], [0]], 3, "zero")
    assert found is not None
    assert (found.num_images, found.num_other_truth) == (1, 1)


def test_the_images_that_differ_most_come_first():
    empty = [0] * 6
    found = both(
        {"a": TRUTH, "b": TRUTH, "c": TRUTH}, {"a": TRUTH, "b": empty, "c": [1, 1, 0, 0, 2, 0]}
    )
    assert found is not None
    assert [one.name for one in found.apart] == ["b", "c", "a"]
    assert found.apart[0].ious == (1, pytest.approx(2 / 6 / 3))


def test_a_class_that_is_nowhere_has_no_iou():
    found = both({"a": TRUTH}, {"a": TRUTH})
    assert found is not None
    assert np.isnan(found.iou[:, 3]).all()
    assert np.isnan(found.iou_bounds[:, :, 3]).all()
