import torch

from qaclims_ray.benchmark.cams import cams_of_one, ways
from qaclims_ray.benchmark.sizes import choose_sizes, labels
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.multiscale import multiscale_cams

CPU = torch.device("cpu")


def test_the_published_way_gives_the_same_cams():
    torch.manual_seed(0)
    net = build_cam_net("small_resnet", 4).eval()
    images, present = torch.randn(3, 3, 45, 52), labels(3, 4, CPU)
    together = multiscale_cams(net, images, present)[:, 0]
    alone = [cams_of_one(net, *case) for case in zip(images, present, strict=True)]
    assert [len(maps) for maps in alone] == [2, 1, 2]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_ways_do_what_they_say():
    made = ways(CPU, choose_sizes(CPU, quick=True))
    (ours, run), (published, run_published) = made.items()
    assert (ours.num_units, published.num_units) == (2, 1)
    assert run().shape == (3, 1, 16, 20)
    assert [run_published().shape for _ in range(3)] == [(2, 16, 20), (1, 16, 20), (2, 16, 20)]
