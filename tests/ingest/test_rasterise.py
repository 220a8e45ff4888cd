import tracemalloc

import pytest

from qaclims_ray.ingest.rasterise import rasterise


def test_an_image_of_absurd_size_takes_no_memory():
    with pytest.raises(ValueError, match="100000 x 100000 pixels are more than"):
        rasterise([], height=10**5, width=10**5)


def test_many_instances_take_the_memory_of_one():
    """20,000 of them in a photograph would be gigabytes as masks."""
    triangle = {"label": 0, "segmentation": [[0, 0, 9, 0, 0, 9]]}
    tracemalloc.start()
    rasterise([triangle] * 2000, height=500, width=500)
    assert tracemalloc.get_traced_memory()[1] < 2000 * 500 * 500 / 50
    tracemalloc.stop()
