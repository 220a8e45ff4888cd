from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from qaclims_ray.model.affinity import search_paths, shifted
from qaclims_ray.model.irn import Relations
from qaclims_ray.model.irn_losses import irn_losses, pair_labels, pair_losses

RADIUS = 3


def _relations(edge, displacement):
    return Relations(edge[None, None].logit(), displacement[None])


def test_losses_of_a_perfect_answer_are_almost_nothing():
    seeds = torch.tensor([[1, 1, 1, 0, 0, 0]] * 6)
    edge = torch.full((6, 6), 1e-6)
    edge[:, 2:4] = 1 - 1e-6
    # All of the object points to its centre (row 2, column 1); the background points nowhere.
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    field = torch.stack([2.0 - rows, 1.0 - columns]) * (seeds == 1)
    losses = irn_losses(_relations(edge, field), seeds[None], radius=2)
    assert losses.affinity_different < 1e-4
    assert losses.displacement_foreground == 0
    assert losses.displacement_background == 0


def test_displacement_errors_are_means_over_both_axes():
    seeds = torch.ones(1, 5, 5, dtype=torch.int64)
    losses = irn_losses(_relations(torch.full((5, 5), 0.5), torch.zeros(2, 5, 5)), seeds, 2)
    # Mean of |y| and |x| over the ends (0, 1), (1, 0), (1, -1), (1, 1).
    expected = torch.tensor([0, np.log(2), 0, 6 / 8, 0]).float()
    torch.testing.assert_close(torch.stack(losses[1:]), expected, atol=1e-4, rtol=0)
    assert losses.total == pytest.approx(np.log(2) / 4 + 3 / 8, abs=1e-4)


def test_seeds_without_certainty_give_zero_loss_and_zero_gradient():
    edge = torch.zeros(1, 1, 6, 6, requires_grad=True)
    seeds = torch.full((1, 6, 6), 255)
    losses = irn_losses(Relations(edge, torch.zeros(1, 2, 6, 6)), seeds, RADIUS)
    losses.total.backward()
    assert all(term == 0 for term in losses)
    assert (edge.grad == 0).all()


def test_losses_in_bfloat16_are_finite():
    edge = torch.full((1, 1, 6, 6), -40, dtype=torch.bfloat16, requires_grad=True)
    seeds = torch.tensor([[[0, 0, 0, 1, 1, 1]] * 6])
    field = torch.zeros(1, 2, 6, 6, dtype=torch.bfloat16)
    total = irn_losses(Relations(edge, field), seeds, RADIUS).total
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(edge.grad).all()


def test_ignored_cells_are_in_no_pair():
    seeds = torch.tensor([[[0, 255, 1, 1, 0, 0]] * 3])
    labels = pair_labels(seeds, radius=2)
    pairs = sum(kind.int() for kind in labels)
    # Sources are columns 1 to 4; ends lie right, below, below left, below right.
    expected = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
    assert torch.equal(pairs[0, :, 0], expected)
    assert labels.counts().sum() == 2 * expected.sum()


def _loop(edge, field, seeds, radius):
    """The losses of one image, pair by pair, in float64."""
    height, width = seeds.shape
    terms = {"background": [], "foreground": [], "different": [], "astray": [], "moved": []}
    for path in search_paths(radius):
        (y, x), _ = path[0], path[-1]
        for row in range(height - radius + 1):
            for column in range(radius - 1, width - radius + 1):
                source, target = seeds[row, column], seeds[row + y, column + x]
                if 255 in (source, target):
                    continue
                boundary = max(edge[row + dy, column + dx] for dy, dx in path)
                moved = field[:, row, column] - field[:, row + y, column + x]
                if source != target:
                    terms["different"].append(-np.log(boundary + 1e-5))
                elif source == 0:
                    terms["background"].append(-np.log(1 - boundary + 1e-5))
                    terms["moved"].extend(abs(moved))
                else:
                    terms["foreground"].append(-np.log(1 - boundary + 1e-5))
                    terms["astray"].extend(abs(moved - (y, x)))
    return {name: sum(values) / (len(values) + 1e-5) for name, values in terms.items()}


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(4, 9),
    width=st.integers(7, 11),
    radius=st.integers(2, 4),
    seed=st.integers(0, 999),
)
def test_losses_are_those_of_a_loop_over_pairs(height, width, radius, seed):
    rng = np.random.default_rng(seed)
    logits, field = rng.normal(0, 3, (height, width)), rng.normal(0, 2, (2, height, width))
    seeds = rng.choice(np.array([0, 1, 7, 255], np.uint8), (height, width))
    expected = _loop(1 / (1 + np.exp(-logits)), field, seeds, radius)
    relations = Relations(torch.from_numpy(logits)[None, None], torch.from_numpy(field)[None])
    losses = irn_losses(relations, torch.from_numpy(seeds)[None], radius)
    np.testing.assert_allclose(losses[1:], list(expected.values()), rtol=1e-5)
    positive = (expected["background"] + expected["foreground"]) / 2
    total = (positive + expected["different"]) / 2 + (expected["astray"] + expected["moved"]) / 2
    np.testing.assert_allclose(losses.total, total, rtol=1e-5)


def _batch(seed, side=40, num_images=2):
    """Logits, displacements and seeds of patches, some of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_images, 3, side, side, generator=generator)
    edge = F.avg_pool2d(noise[:, :1], 5, 1, 2) * 10
    patches = torch.randint(0, 4, (num_images, 1, 4, 4), generator=generator)
    seeds = F.interpolate(patches.float(), size=(side, side))[:, 0].byte()
    return Relations(edge, noise[:, 1:] * 4), torch.where(seeds == 3, 255, seeds)


def _published(relations, seeds, radius):
    """The loss in the published form: cells gathered by index, logarithms of 1 - sigmoid."""
    edge, field = relations
    (height, width), paths = seeds.shape[1:], search_paths(radius)
    cells, found = torch.arange(height * width).view(height, width), []
    for length, group in groupby(paths, len):
        places = torch.stack([shifted(cells, path, radius) for path in group])
        values = edge.sigmoid().flatten(1).index_select(1, places.flatten())
        strongest = F.max_pool2d(values.view(len(edge), *places.shape[:2], -1), (length, 1))
        found.append(1 - strongest.squeeze(2))
    affinity, margin = torch.cat(found, 1), radius - 1
    source, *ends = (
        field[..., y : y + height - margin, margin + x : x + width - margin]
        for y, x in [(0, 0), *(path[0] for path in paths)]
    )
    moved = (source.unsqueeze(2) - torch.stack(ends, 2)).flatten(3)
    offsets = moved.new_tensor([path[0] for path in paths]).T[:, :, None]
    same, alike, different = (pairs.flatten(2) for pairs in pair_labels(seeds, radius))
    attract, repel = -torch.log(affinity + 1e-5), -torch.log(1 + 1e-5 - affinity)
    positive = _mean(attract, same) / 2 + _mean(attract, alike) / 2
    astray = _mean((moved - offsets).abs(), alike[:, None].expand_as(moved))
    still = _mean(moved.abs(), same[:, None].expand_as(moved))
    return (positive + _mean(repel, different)) / 2 + (astray + still) / 2


def _mean(values, where):
    return (values * where).sum() / (where.sum() + 1e-5)


def _gradients(loss, relations, dtype):
    """Of a loss with respect to edges and displacements, computed in `dtype`."""
    leaves = [x.to(dtype).clone().requires_grad_() for x in relations]
    loss(Relations(*leaves)).backward()
    return [leaf.grad.double() for leaf in leaves]


@pytest.mark.parametrize("seed", range(5))
def test_gradients_are_less_noisy_than_those_of_the_published_form(seed):
    relations, seeds = _batch(seed)
    forms = (lambda x: irn_losses(x, seeds, 10).total, lambda x: _published(x, seeds, 10))
    exact = _gradients(forms[1], relations, torch.float64)
    ours, published = (_gradients(form, relations, torch.float32) for form in forms)
    for own, theirs, right in zip(ours, published, exact, strict=True):
        assert (own - right).norm() <= (theirs - right).norm()
        assert (own - right).abs().max() <= (theirs - right).abs().max()
        torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-6 * float(right.abs().max()))


@pytest.mark.parametrize("logit", [-30.0, -12.0, 1.0, 12.0, 30.0])
@pytest.mark.parametrize("term", ["attract", "repel"])
def test_losses_of_certain_boundaries_keep_their_digits(logit, term):
    losses, gradients = [], []
    for dtype in (torch.float32, torch.float64):
        edge = torch.full((1, 1, 2, 3), logit, dtype=dtype, requires_grad=True)
        relations = Relations(edge, torch.zeros(1, 2, 2, 3, dtype=dtype))
        loss = getattr(pair_losses(relations, radius=2), term).sum()
        loss.backward()
        losses.append(loss.detach().double())
        gradients.append(edge.grad.double())
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=0)
    assert gradients[0].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), num_workers=st.integers(1, 4))
def test_workers_with_common_counts_have_the_loss_of_the_whole_batch(seed, num_workers):
    relations, seeds = _batch(seed, side=12, num_images=2 * num_workers)
    whole = irn_losses(relations, seeds, RADIUS)
    counts = pair_labels(seeds, RADIUS).counts() / num_workers
    shares = [slice(2 * worker, 2 * worker + 2) for worker in range(num_workers)]
    losses = [
        irn_losses(Relations(*(x[own] for x in relations)), seeds[own], RADIUS, counts)
        for own in shares
    ]
    for expected, *terms in zip(whole, *losses, strict=True):
        torch.testing.assert_close(torch.stack(terms).mean(), expected, rtol=1e-5, atol=1e-6)


def test_arguments_are_not_changed():
    relations, seeds = _batch(0, side=12)
    before = [x.clone() for x in (*relations, seeds)]
    irn_losses(relations, seeds, RADIUS)
    assert all(map(torch.equal, (*relations, seeds), before))
