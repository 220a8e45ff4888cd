from functools import partial

import pytest
import torch

from qaclims_ray.benchmark.sizes import choose_sizes, clip_config
from qaclims_ray.benchmark.training import (
    at_once,
    classifier_ways,
    new_step,
    one_by_one,
    random_batch,
    random_clip,
    random_texts,
    ritc_ways,
)
from qaclims_ray.model.cam_net import build_cam_net

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sizes():
    return choose_sizes(CPU, quick=True)


def test_the_published_way_takes_the_same_step(sizes):
    torch.manual_seed(0)
    clip = random_clip(clip_config(sizes), CPU)
    batch = random_batch(3, 4, sizes.crop, CPU)
    texts = random_texts(int(batch.targets.sum()), clip.config["embed_dim"], CPU)
    net = build_cam_net(sizes.backbone, 4)
    fast, slow = (new_step(net, partial(task, clip, texts)) for task in (at_once, one_by_one))
    for _ in range(2):
        ours, published = fast(batch), slow(batch)
        assert ours["total"] == pytest.approx(published["total"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(published["grad_norm"], rel=1e-4)
    for parameter, other in zip(fast.net.parameters(), slow.net.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_the_networks_given_are_left_alone(sizes):
    net = build_cam_net(sizes.backbone, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    clip = random_clip(clip_config(sizes), CPU)
    batch = random_batch(2, 4, sizes.crop, CPU)
    texts = random_texts(3, clip.config["embed_dim"], CPU)
    new_step(net, partial(at_once, clip, texts))(batch)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_batches_show_one_and_a_half_pairs_an_image():
    assert random_batch(4, 20, 8, CPU).targets.sum(dim=1).tolist() == [2, 1, 2, 1]
    assert random_batch(40, 20, 8, CPU).targets.sum() == 60


def test_ways_do_what_they_say(sizes):
    ours, published = ritc_ways(CPU, sizes)
    assert (ours.kind, published.kind) == ("ours", "published")
    assert ours.num_units == published.num_units == 2
    assert ours.batch == "2 images, 3 pairs"
    ((both, run),) = classifier_ways(CPU, sizes).items()
    assert both.kind == "both"
    assert run()["total"] > 0


def test_the_real_clip_is_the_configs(sizes):
    config = clip_config(sizes._replace(clip=None))
    assert config["embed_dim"] == 768
    assert config["vision_cfg"]["layers"] == 24
