import pytest
import torch

from qaclims_ray.benchmark.sizes import choose_sizes
from qaclims_ray.benchmark.walk import bytes_read, dense_walk, random_boundaries, ways
from qaclims_ray.model.affinity import random_walk

CPU = torch.device("cpu")


def test_the_published_way_gives_the_same_scores():
    torch.manual_seed(0)
    cams, edge = torch.rand(2, 18, 21), random_boundaries(18, 21)
    torch.testing.assert_close(random_walk(cams, edge), dense_walk(cams, edge), rtol=1e-4, atol=0)


def test_bytes_of_a_walk_by_hand():
    """In 2 x 2 cells each is joined with each: 16 entries of 12 bytes, 256 times."""
    assert bytes_read(torch.full((2, 2), 0.5)) == 256 * 16 * 12


def test_on_a_cpu_the_dense_form_is_stretched_by_its_flop():
    sizes = choose_sizes(CPU, quick=False)
    ours, published = ways(CPU, sizes)
    assert ours.stretch == 1
    assert ours.batch == "1 image, 94 x 125 cells"
    assert published.batch == "47 x 63 cells, time x 62"
    assert published.stretch == pytest.approx((94 * 125 / (47 * 63)) ** 3)
    assert (ours.growth, published.growth) == (1, 3)
