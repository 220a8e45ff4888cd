import torch

from qaclims_ray.benchmark.segment import prediction_ways, training_ways
from qaclims_ray.benchmark.sizes import choose_sizes

CPU = torch.device("cpu")
QUICK = choose_sizes(CPU, quick=True)


def test_the_segmenter_learns_and_predicts():
    ((way, step),) = training_ways(CPU, QUICK).items()
    assert way.kind == "both"
    assert step()["total"] > 0
    (ours, run), (published, run_one) = prediction_ways(CPU, QUICK).items()
    assert (ours.kind, published.kind) == ("ours", "published")
    assert run().shape == (2, *QUICK.image)
    assert run_one().shape == (1, *QUICK.image)
