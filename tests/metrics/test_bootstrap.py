import numpy as np
import pytest

from qaclims_ray.metrics.bootstrap import interval, resample

VALUES = np.random.default_rng(0).integers(0, 9, (200, 3))


def test_batches_and_replicates_do_not_change_the_draws():
    together = resample([VALUES])
    assert together.shape == (1000, 3)
    np.testing.assert_array_equal(resample([VALUES[:70], VALUES[70:]]), together)


def test_equal_seeds_draw_alike_and_others_do_not():
    assert np.array_equal(resample([VALUES], seed=1), resample([VALUES], seed=1))
    assert not np.array_equal(resample([VALUES], seed=1), resample([VALUES], seed=2))


def test_replicates_spread_as_sums_of_resampled_images_do():
    """A sum under Poisson(1) counts has the sum as mean, and the sum of squares as variance."""
    samples = resample([VALUES], num_replicates=4000)
    np.testing.assert_allclose(samples.mean(0), VALUES.sum(0), rtol=0.01)
    np.testing.assert_allclose(samples.var(0), (VALUES**2).sum(0), rtol=0.1)


def test_an_interval_of_a_mean_has_the_width_that_theory_says():
    ones = np.ones(len(VALUES), int)
    samples = resample([np.stack([VALUES[:, 0], ones], axis=1)], num_replicates=4000)
    low, high = interval(samples[:, 0] / samples[:, 1], np.array(VALUES[:, 0].mean()))
    width = 2 * 1.96 * VALUES[:, 0].std() / np.sqrt(len(VALUES))
    assert low < VALUES[:, 0].mean() < high
    np.testing.assert_allclose(high - low, width, rtol=0.1)


def test_values_that_are_nowhere_defined_have_no_interval():
    samples = np.array([[1.0, np.nan, np.nan], [2.0, np.nan, 4.0]])
    low, high = interval(samples, np.array([1.5, np.nan, 4.0]))
    assert np.isnan([low[1], high[1]]).all()
    assert low[2] == high[2] == 4
    assert 1 <= low[0] < high[0] <= 2


def test_an_interval_holds_its_own_value():
    samples = np.linspace(0.4, 0.5, 101)
    assert interval(samples, np.array(0.45)).tolist() == pytest.approx([0.4025, 0.4975])
    assert interval(samples, np.array(0.3)).tolist() == pytest.approx([0.3, 0.4975])
    assert interval(samples, np.array(0.6)).tolist() == pytest.approx([0.4025, 0.6])
