import resource
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from qaclims_ray.model.affinity import affinities, random_walk, search_paths, shifted, weights


def _dense_transition(edge, radius, beta):
    """The published form: padded map, dense symmetric matrix, power, column normalisation."""
    height, width = edge.shape
    padded = F.pad(edge, (radius, radius, 0, radius), value=1.0)
    cells = torch.arange(padded.numel()).view(padded.shape)
    source = shifted(cells, [(0, 0)], radius).flatten()
    target = shifted(cells, [path[0] for path in search_paths(radius)], radius).flatten(1)
    values = affinities(padded, radius).flatten(1)
    dense = torch.eye(padded.numel(), dtype=edge.dtype)
    dense[source.expand_as(target), target] = values
    dense[target, source.expand_as(target)] = values
    kept = cells[:height, radius : radius + width].flatten()
    powered = dense[kept][:, kept] ** beta
    return powered / powered.sum(0)


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    radius=st.integers(2, 6),
    exp_times=st.integers(0, 8),
    beta=st.floats(0.5, 12),
    seed=st.integers(0, 99),
)
def test_sparse_walk_is_the_dense_published_one(height, width, radius, exp_times, beta, seed):
    torch.manual_seed(seed)
    edge, cams = torch.rand(height, width).double(), torch.rand(2, height, width).double()
    matrix = _dense_transition(edge, radius, beta)
    for _ in range(exp_times):
        matrix = matrix @ matrix
    expected = (cams * (1 - edge)).flatten(1) @ matrix
    actual = random_walk(cams, edge, radius=radius, beta=beta, exp_times=exp_times)
    torch.testing.assert_close(actual.flatten(1), expected, rtol=1e-9, atol=1e-12)


def test_paths_of_the_smallest_radius_lead_right_and_down():
    assert search_paths(2) == (
        ((0, 1), (0, 0)),
        ((1, 0), (0, 0)),
        ((1, -1), (0, -1), (1, 0), (0, 0)),
        ((1, 1), (0, 1), (1, 0), (0, 0)),
    )


@pytest.mark.parametrize("radius", [2, 3, 5, 10])
def test_every_pair_closer_than_the_radius_has_one_path(radius):
    ends = {path[0] for path in search_paths(radius)}
    assert len(ends) == len(search_paths(radius))
    both = ends | {(-y, -x) for y, x in ends}
    side = range(-radius, radius + 1)
    assert both == {(y, x) for y in side for x in side if 0 < y * y + x * x < radius**2}
    assert len(both) == 2 * len(ends)


@pytest.mark.parametrize("radius", [2, 3, 5, 10])
def test_a_path_is_all_that_is_less_than_one_cell_off_the_line(radius):
    side = range(-radius, radius + 1)
    for path in search_paths(radius):
        y, x = path[0]
        near = [(r, c) for r in side for c in side if _distance(r, c, y, x) < 1 - 1e-9]
        assert sorted(path) == near


def _distance(row, column, y, x):
    """From a cell to the segment between (0, 0) and (y, x)."""
    along = min(1, max(0, (row * y + column * x) / (y * y + x * x)))
    return ((row - along * y) ** 2 + (column - along * x) ** 2) ** 0.5


_SMALL = {
    "height": st.integers(1, 8),
    "width": st.integers(1, 8),
    "radius": st.integers(1, 5),
    "seed": st.integers(0, 99),
}


def _grid(height, width, radius, seed):
    """A grid with sources in `height` rows and `width` columns."""
    generator = torch.Generator().manual_seed(seed)
    size = (2, height + radius - 1, width + 2 * radius - 2)
    return torch.rand(size, generator=generator, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(**_SMALL)
def test_affinities_are_those_of_a_loop(height, width, radius, seed):
    grid, paths = _grid(height, width, radius, seed), search_paths(radius)
    found, ends = affinities(grid, radius), shifted(grid, [path[0] for path in paths], radius)
    assert found.shape == ends.shape == (2, len(paths), height, width)
    for index, path in enumerate(paths):
        for row in range(height):
            for column in range(radius - 1, radius - 1 + width):
                cells = torch.stack([grid[:, row + y, column + x] for y, x in path])
                at = (slice(None), index, row, column - radius + 1)
                assert torch.equal(found[at], 1 - cells.amax(0))
                assert torch.equal(ends[at], cells[0])


@settings(max_examples=5, deadline=None)
@given(**_SMALL)
def test_gradients_reach_the_strongest_cells(height, width, radius, seed):
    grid = _grid(min(height, 3), min(width, 3), max(radius, 2), seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: affinities(x, max(radius, 2)), grid)


def test_a_grid_without_sources_is_refused():
    shifted(torch.zeros(3, 5), [(2, -2)], radius=3)
    for size in ((2, 5), (3, 4)):
        with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} cells .* takes 3 x 5"):
            affinities(torch.zeros(size), radius=3)


def test_affinity_is_cut_by_the_strongest_boundary_on_the_path():
    edge = torch.zeros(1, 5)
    edge[0, 2] = 0.7
    dense = weights(edge, radius=3, beta=1.0).to_dense()
    torch.testing.assert_close(dense[1], torch.tensor([1, 1, 0.3, 0.3, 0]))
    assert torch.equal(weights(edge, radius=3, beta=2.0).to_dense(), dense**2)


def test_nothing_crosses_a_closed_boundary():
    cams, edge = torch.zeros(1, 7, 7), torch.zeros(7, 7)
    cams[0, 0, 0] = 1
    edge[:, 3] = 1
    walked = random_walk(cams, edge)
    assert (walked[0, :, :3] > 0).all()
    assert (walked[0, :, 3:] == 0).all()


def test_a_flat_map_without_boundaries_stays_where_all_cells_are_alike():
    cams = torch.ones(1, 1, 1)
    torch.testing.assert_close(random_walk(cams, torch.zeros(1, 1)), cams)


def test_within_a_radius_of_one_each_cell_keeps_to_itself():
    cams, edge = torch.rand(2, 4, 5), torch.rand(4, 5)
    assert search_paths(1) == ()
    assert torch.equal(weights(edge, radius=1, beta=10.0).to_dense(), torch.eye(20))
    torch.testing.assert_close(random_walk(cams, edge, radius=1), cams * (1 - edge))


def test_walk_keeps_type_and_inputs():
    cams, edge = torch.rand(2, 4, 5), torch.rand(4, 5)
    before = cams.clone(), edge.clone()
    assert random_walk(cams, edge).dtype == torch.float32
    assert torch.equal(cams, before[0])
    assert torch.equal(edge, before[1])


def test_classes_walk_independently():
    cams, edge = torch.rand(3, 6, 5), torch.rand(6, 5)
    together = random_walk(cams, edge)
    alone = torch.cat([random_walk(cam[None], edge) for cam in cams])
    torch.testing.assert_close(together, alone)


@settings(max_examples=15, deadline=None)
@given(
    num_images=st.integers(1, 4),
    num_maps=st.integers(0, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    radius=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_images_of_a_batch_walk_independently(num_images, num_maps, height, width, radius, seed):
    torch.manual_seed(seed)
    edge = torch.rand(num_images, height, width)
    cams = torch.rand(num_images, num_maps, height, width)
    together = random_walk(cams, edge, radius=radius, exp_times=4)
    alone = [random_walk(*one, radius=radius, exp_times=4) for one in zip(cams, edge, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_maps_of_zeros_stay_and_disturb_no_other():
    cams, edge = torch.rand(1, 6, 5), torch.rand(6, 5)
    padded = random_walk(torch.cat([cams, torch.zeros(2, 6, 5)]), edge)
    torch.testing.assert_close(padded[:1], random_walk(cams, edge))
    assert (padded[1:] == 0).all()


def test_memory_is_linear_in_cells():
    small, large = (weights(torch.rand(side, 20), radius=5, beta=10.0) for side in (20, 80))
    assert large.values().numel() < 4.5 * small.values().numel()
    batch = weights(torch.rand(4, 20, 20), radius=5, beta=10.0)
    assert batch.values().numel() == 4 * small.values().numel()


def test_an_image_of_640_by_480_pixels_walks_within_half_a_gibibyte():
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    random_walk(torch.rand(3, 120, 160), torch.rand(120, 160), exp_times=1)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * unit < 2**29


@pytest.mark.gpu
def test_walk_on_a_gpu():
    cams, edge = torch.rand(3, 2, 30, 40), torch.rand(3, 30, 40)
    torch.testing.assert_close(random_walk(cams.cuda(), edge.cuda()).cpu(), random_walk(cams, edge))
