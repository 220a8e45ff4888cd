"""Data-parallel steps by real processes over gloo: what several workers do together."""

import functools
import socket
from contextlib import closing

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from qaclims_ray.config.train import Fit, Loss, Optimiser, Ritc
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.irn import Relations
from qaclims_ray.model.irn_losses import irn_losses, pair_labels
from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.irn import mean_over_workers
from qaclims_ray.train.optim import ParameterGroup, build_optimizer
from qaclims_ray.train.pairs import PairCounts, PairReader
from qaclims_ray.train.ritc import RitcLoss
from qaclims_ray.train.step import Step

CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 4},
    "text_cfg": {"context_length": 6, "width": 16, "heads": 2, "layers": 1},
}
CLASSES = ("cat", "dog", "boat")
TEXTS = [*CLASSES, "sea", "sky", "grass"]
LABELS = [[0], [0, 1, 2], [1], [2], [], []]
"""Classes of six images; two workers with two each see 4 and 2 pairs, the last two none."""
READ_PAIRS = PairReader({text: row for row, text in enumerate(TEXTS)}, CLASSES)


def _pairs(row):
    texts = {"foreground": ["cat"], "background": ["sea", "sky", "grass"]}
    return {"name": str(row), "pairs": [{"label": label, **texts} for label in LABELS[row]]}


def _batch(rows, step_rows, weight):
    images = torch.randn(len(LABELS), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(len(LABELS), len(CLASSES))
    for row, classes in enumerate(LABELS):
        labels[row, classes] = 1
    names = [str(row) for row in rows]
    numbers, beside = torch.tensor(rows), [READ_PAIRS(_pairs(row)) for row in rows]
    step = torch.tensor(step_rows)
    return Batch(names, images[rows], labels[rows], numbers, step, weight, beside)


def _step(per_pair, parallel, weights):
    """Plain gradient descent at rate 1: the step is the gradient; step, network and loss."""
    torch.manual_seed(0)
    clip = new_clip(CLIP, texts=["sky"], mask_prompt_depth=0).eval().requires_grad_(False)
    features = torch.nn.functional.normalize(torch.randn(len(TEXTS), 8), dim=1)
    pairs = PairCounts(torch.tensor([len(own) for own in LABELS]), 1, 3)
    foreground, background, area = weights
    terms = Loss(foreground=foreground, background=background, area=area, per_pair=per_pair)
    loss = RitcLoss(clip, features, pairs, Ritc(loss=terms), "imagenet")
    torch.manual_seed(0)
    net = build_cam_net("small_resnet", len(CLASSES))
    optimiser = Optimiser(learning_rate=1.0, momentum=0, weight_decay=0)
    optimizer = build_optimizer([ParameterGroup(net.parameters())], optimiser)
    fit = Fit(optimiser=optimiser, freeze_batch_norm=True)
    wrapped = DistributedDataParallel(net) if parallel else net
    return Step(wrapped, loss, optimizer, fit, 100), net, loss


def _moved(per_pair, weights, steps, parallel=False):
    """How far the parameters went, as one vector."""
    step, net, _ = _step(per_pair, parallel, weights)
    before = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    for batches in steps:
        step(*batches)
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach() - before


CASES = {
    "contrasts": (False, (1.0, 1.0, 0.0)),
    "area": (False, (0.0, 0.0, 1.0)),
    "per_pair": (True, (1.0, 1.0, 1.0)),
}


def _both(rank):
    """Gradients of one step of two workers, and how a step goes that has no pair anywhere."""
    rows = [[0, 1], [2, 3]][rank]
    found = {
        name: _moved(per_pair, weights, [[_batch(rows, [0, 1, 2, 3], 1.0)]], parallel=True)
        for name, (per_pair, weights) in CASES.items()
    }
    # A rank without pairs, then a step without any, then one rank with pairs again.
    rows = [[[0, 1], [4, 5], [2, 3]], [[4, 5], [4, 5], [4, 5]]][rank]
    steps = [[_batch(one, [0, 1, 2, 3, 4, 5], 1.0)] for one in rows]
    found["no pairs"] = _moved(True, (1.0, 1.0, 0.2), steps, parallel=True)
    # Each takes two batches before it shares its gradient.
    rows = [[[0], [1]], [[2], [3]]][rank]
    batches = [_batch(one, [0, 1, 2, 3], 0.5) for one in rows]
    found["accumulated"] = _moved(False, (1.0, 1.0, 1.0), [batches], parallel=True)
    seeds, edge, displacement = _boundaries()
    relations = Relations(edge[rank : rank + 1], displacement[rank : rank + 1])
    own = pair_labels(seeds[rank : rank + 1], RADIUS).counts()
    shared = mean_over_workers(own, 1.0)
    irn_losses(relations, seeds[rank : rank + 1], RADIUS, shared).total.backward()
    gradients = edge.grad / 2, displacement.grad / 2
    for gradient in gradients:
        torch.distributed.all_reduce(gradient)
    found["boundaries"] = torch.cat([gradient.flatten() for gradient in gradients])
    # A worker that takes a batch again, with weight 0, has no say in the divisors.
    found["weighted"] = mean_over_workers(own, float(rank == 0))
    return found


RADIUS = 3


def _boundaries():
    """Seeds, boundary logits and displacements of two images with very unequal numbers of pairs."""
    seeds = torch.full((2, 8, 9), 255, dtype=torch.uint8)
    seeds[0, :, :5], seeds[0, :, 5:] = 0, 2
    seeds[1, 3:5, 2:6] = 1
    generator = torch.Generator().manual_seed(3)
    edge = torch.randn(2, 1, 8, 9, generator=generator).requires_grad_()
    return seeds, edge, torch.randn(2, 2, 8, 9, generator=generator).requires_grad_()


def _worker(rank, port, results):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.save(_both(rank), results[rank])
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """What both of two real processes found."""
    folder = tmp_path_factory.mktemp("ddp")
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    results = [folder / f"{rank}.pt" for rank in range(2)]
    context = torch.multiprocessing.get_context("fork")
    target = functools.partial(_worker, port=port, results=results)
    processes = [context.Process(target=target, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(path) for path in results]


def test_both_workers_take_the_same_step(two_workers):
    one, other = two_workers
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "factor"), [("contrasts", 2), ("area", 1), ("per_pair", 1)])
def test_two_workers_of_b_take_the_step_of_one_of_2b(two_workers, name, factor):
    """FRC and BRC are sums over a worker's pairs, and workers are averaged: one worker that has
    all pairs takes a step that is as many times longer as there were workers. The mean over cells
    (REG) and the mean over pairs (per_pair) are those of the whole step."""
    per_pair, weights = CASES[name]
    alone = _moved(per_pair, weights, [[_batch([0, 1, 2, 3], [0, 1, 2, 3], 1.0)]])
    together = factor * two_workers[0][name]
    assert together.norm() > 1e-3
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5 * alone.norm().item())


def test_boundary_losses_of_two_workers_are_that_of_the_whole_batch(two_workers):
    seeds, edge, displacement = _boundaries()
    irn_losses(Relations(edge, displacement), seeds, RADIUS).total.backward()
    alone = torch.cat([edge.grad.flatten(), displacement.grad.flatten()])
    torch.testing.assert_close(two_workers[0]["boundaries"], alone, rtol=1e-5, atol=1e-7)
    first = pair_labels(seeds[:1], RADIUS).counts()
    torch.testing.assert_close(two_workers[1]["weighted"], first, rtol=0, atol=0)


def test_one_worker_that_accumulates_takes_the_step_of_two(two_workers):
    halves = [_batch(rows, [0, 1, 2, 3], 0.5) for rows in ([0, 1], [2, 3])]
    alone = _moved(False, (1.0, 1.0, 0.0), [halves])
    together = two_workers[0]["contrasts"]
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5 * alone.norm().item())


def test_two_workers_that_accumulate_take_the_step_of_four(two_workers):
    quarters = [_batch([row], [0, 1, 2, 3], 0.25) for row in range(4)]
    alone = _moved(False, (1.0, 1.0, 1.0), [quarters])
    together = two_workers[0]["accumulated"]
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5 * alone.norm().item())


def test_workers_without_pairs_neither_hang_nor_stop_the_others(two_workers):
    moved = two_workers[0]["no pairs"]
    assert moved.isfinite().all()
    assert moved.norm() > 0


def test_the_pairs_of_a_step_are_those_of_all_workers():
    step, *_ = _step(False, False, (1.0, 1.0, 1.0))
    assert step(_batch([0], [0, 1, 2, 3], 1.0))["num_pairs"] == 6
    halves = [_batch(rows, [0, 1, 2, 3], 0.5) for rows in ([0, 1], [2, 3])]
    assert step(*halves)["num_pairs"] == 6


def test_clip_and_the_texts_take_no_part_in_the_gradient():
    step, _, loss = _step(True, False, (1.0, 1.0, 1.0))
    step(_batch([0, 1], [0, 1], 1.0))
    assert all(not p.requires_grad and p.grad is None for p in loss._clip.parameters())
    assert not loss._text_features.requires_grad
