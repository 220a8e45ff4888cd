import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.ingest import spread
from qaclims_ray.ingest.spread import Spread


@given(st.lists(st.lists(st.integers(1, 9))), st.integers(1, 9))
def test_a_spread_is_that_of_all_values_at_once(parts, many):
    spread._MANY, found = many, Spread()
    for part in parts:
        found.add(np.array(part, np.int32))
    everything = [value for part in parts for value in part]
    middle = int(np.median(everything)) if everything else 0
    expected = (min(everything, default=0), middle, max(everything, default=0))
    assert found() == expected
    assert found() == expected
