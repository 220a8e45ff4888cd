import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.train.deal import BufferedEpoch, epoch_rows

WHOLE = [[[2, 7], [9, 0]], [[4, 1], [10, 6]], [[12, 8], [3, 11]]]
DRAWN = [3, 0, 1, 3, 3]
BUFFERED = [[1, 7], [0, 6], [2, 4], [9, 5], [8, 3]]


def test_the_order_of_a_set_that_fits_is_that_of_the_first_version():
    """Losses of earlier runs must come again: a golden value of numpy's generator."""
    rows = epoch_rows(13, seed=3, epoch=2, num_batches=2, images_per_batch=2)
    assert rows.tolist() == WHOLE
    shares = np.float32([1, 1, 1, 4, 1])
    own = {"num_batches": 1, "images_per_batch": 1, "shares": shares}
    assert epoch_rows(5, seed=3, epoch=2, **own).ravel().tolist() == DRAWN


def test_the_order_through_a_buffer_is_that_of_the_first_version():
    """A training goes on after an update."""
    counts = np.array([3, 1, 4, 2])
    epoch = BufferedEpoch(counts, 10 * counts, seed=3, epoch=2, num_lanes=2, window_bytes=40)
    assert [rows.tolist() for rows in epoch.rows()] == BUFFERED


_sets = st.tuples(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(9, 40),
    st.integers(0, 3),
    st.integers(0, 3),
)


def _epoch(given_set):
    counts, num_lanes, window_bytes, seed, epoch = given_set
    counts = np.array(counts)
    options = {"num_lanes": num_lanes, "window_bytes": window_bytes}
    return BufferedEpoch(counts, counts, seed=seed, epoch=epoch, **options), counts, num_lanes


@given(_sets)
def test_each_image_comes_once_but_for_less_than_a_step(given_set):
    epoch, counts, num_lanes = _epoch(given_set)
    rows = [row for step in epoch.rows() for row in step.tolist()]
    assert len(rows) == epoch.steps * num_lanes
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(counts.sum()))
    assert counts.sum() - len(rows) < num_lanes


@given(_sets, st.integers(0, 20))
def test_an_epoch_goes_on_from_any_step(given_set, first):
    epoch, _, num_lanes = _epoch(given_set)
    whole = [step.tolist() for step in epoch.rows()]
    assert [step.tolist() for step in epoch.rows(first)] == whole[first:]
    for lane in range(num_lanes):
        rows = [row for window in epoch.windows(lane, first) for row in window.rows.tolist()]
        assert rows == [step[lane] for step in whole[first:]]


@given(_sets, st.integers(0, 20))
def test_a_window_has_the_row_groups_of_its_rows_and_no_more_bytes_than_it_may(given_set, first):
    epoch, counts, num_lanes = _epoch(given_set)
    firsts = np.cumsum(counts) - counts
    for lane in range(num_lanes):
        step = first
        for window in epoch.windows(lane, first):
            assert counts[window.groups].sum() <= given_set[2]
            groups = window.groups[window.owners]
            np.testing.assert_array_equal(firsts[groups] + window.offsets, window.rows)
            needed = [step + groups.tolist().index(group) for group in window.groups]
            assert window.first_steps.tolist() == needed == sorted(needed)
            step += len(window.rows)
        assert step == max(first, epoch.steps)


def test_seed_and_epoch_make_the_order():
    def order(seed, epoch):
        counts = np.full(20, 4)
        options = {"num_lanes": 4, "window_bytes": 12}
        made = BufferedEpoch(counts, counts, seed=seed, epoch=epoch, **options)
        return tuple(row for step in made.rows() for row in step.tolist())

    assert order(1, 2) == order(1, 2)
    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("window_bytes", [8, 40])
def test_the_images_of_a_step_come_from_row_groups_far_apart(window_bytes):
    """Names that follow each other, such as those of one class, lie in one row group."""
    counts = np.full(50, 8)
    options = {"num_lanes": 8, "window_bytes": window_bytes}
    epoch = BufferedEpoch(counts, counts, seed=0, epoch=0, **options)
    for step in epoch.rows():
        assert len(set(step // 8)) >= 7
