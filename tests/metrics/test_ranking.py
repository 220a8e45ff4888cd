import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.metrics.ranking import average_precision


def _ap(scores, shown):
    return average_precision(np.array(scores, float)[:, None], np.array(shown, bool)[:, None])[0]


def test_it_is_the_mean_precision_at_the_images_that_show_the_class():
    assert _ap([4, 3, 2, 1], [1, 0, 1, 0]) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert _ap([1, 2, 3, 4], [0, 0, 1, 1]) == 1
    assert _ap([4, 3, 2, 1], [0, 0, 0, 1]) == 1 / 4


def test_images_of_equal_scores_have_no_order():
    assert _ap([1, 1, 1, 1], [1, 0, 0, 0]) == _ap([1, 1, 1, 1], [0, 0, 0, 1]) == 1 / 4


def test_a_class_that_no_image_shows_has_none():
    assert np.isnan(_ap([1, 2], [0, 0]))
    assert average_precision(np.zeros((0, 3)), np.zeros((0, 3), bool)).shape == (3,)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12))
def test_it_is_the_area_below_the_steps_of_precision_over_recall(images):
    scores, shown = (np.array(column) for column in zip(*images, strict=True))
    if not shown.any():
        return
    area = recall = 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        now = (taken & shown).sum() / shown.sum()
        area += (now - recall) * (taken & shown).sum() / taken.sum()
        recall = now
    assert _ap(scores, shown) == pytest.approx(area)
