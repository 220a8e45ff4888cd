import pytest
import torch

from qaclims_ray.benchmark.seeds import boundary_ways, seed_ways, training_ways
from qaclims_ray.benchmark.sizes import choose_sizes

CPU = torch.device("cpu")
QUICK = choose_sizes(CPU, quick=True)


def test_seeds_by_par_and_by_the_crf():
    pytest.importorskip("pydensecrf")
    (par, run), (crf, run_crf) = seed_ways(CPU, QUICK).items()
    assert (par.num_units, crf.num_units, crf.kind) == (2, 1, "published")
    assert [made.shape for made in run()] == [QUICK.image] * 2
    assert {int(value) for value in run_crf()[0].ravel()} <= {0, 1, 2, 255}


def test_flops_of_par_by_hand():
    """Ten steps, two labellings, 48 neighbours, a multiplication and an addition each.

    An image of 2 classes has 3 scores and one of 1 class has 2, at 32 x 40 cells.
    """
    par = next(iter(seed_ways(CPU, QUICK)))
    assert par.flops == 10 * 2 * 48 * 2 * (3 + 2) * 32 * 40


def test_the_boundary_network_learns_and_finds_boundaries():
    ((_, step),) = training_ways(CPU, QUICK).items()
    assert step()["total"] > 0
    (ours, run), (published, run_one) = boundary_ways(CPU, QUICK).items()
    assert (ours.num_units, published.num_units) == (2, 1)
    assert run().edge.shape == (2, 16, 20)
    assert run_one().edge.shape == (1, 16, 20)
