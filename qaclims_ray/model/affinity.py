"""Affinities between nearby pixels, read off a boundary map, and the random walk they drive.

Source: Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations" (CVPR 2019), section 3; published code `misc/indexing.py`.

Two pixels closer than `radius` are paired once: from a source pixel to one below it, or right of it
in the same row. Their affinity is 1 - the strongest boundary on the straight path between them.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

Offset = tuple[int, int]
"""(y, x) in cells, relative to the source pixel; y >= 0."""
Path = tuple[Offset, ...]
"""The cells between a destination (first) and its source (0, 0) (last), both included."""


@lru_cache
def search_paths(radius: int) -> tuple[Path, ...]:
    """One path per destination closer than `radius` cells, ordered by their numbers of cells.

    A path consists of the cells of its bounding box less than one cell off the straight line.
    """
    destinations = [
        (y, x)
        for y in range(radius)
        for x in range(-radius + 1, radius)
        if (y > 0 or x > 0) and y * y + x * x < radius * radius
    ]
    return tuple(sorted(map(_path, destinations), key=len))


def _path(destination: Offset) -> Path:
    y, x = destination
    cells = [
        (row, column)
        for row in range(y + 1)
        for column in range(min(0, x), max(0, x) + 1)
        if (y * column - x * row) ** 2 < y * y + x * x
    ]
    return tuple(sorted(cells, key=lambda cell: -cell[0] - abs(cell[1])))


def shifted(
    grid: Shaped[Tensor, "*B H W"], offsets: Sequence[Offset], radius: int
) -> Shaped[Tensor, "*B n h w"]:
    """What each source pixel finds at each offset.

    Sources are the cells that have all offsets of the radius inside the grid: the columns but for
    the first and last `radius - 1`, the rows but for the last `radius - 1`.
    """
    margin = radius - 1
    height, width = grid.shape[-2] - margin, grid.shape[-1] - 2 * margin
    views = [grid[..., y : y + height, margin + x : margin + x + width] for y, x in offsets]
    return torch.stack(views, dim=-3)


def affinities(edge: Float[Tensor, "*B H W"], radius: int) -> Float[Tensor, "*B n h w"]:
    """Affinity in [0, 1] of each source pixel with the destination of each of `search_paths`.

    `edge` holds boundary probabilities in [0, 1]. For sources see `shifted`.
    """
    strongest = [shifted(edge, path, radius).max(dim=-3).values for path in search_paths(radius)]
    return 1 - torch.stack(strongest, dim=-3)


def weights(edge: Float[Tensor, "h w"], *, radius: int, beta: float) -> Tensor:
    """Symmetric matrix of the affinities of all pairs of cells, to the power of `beta`.

    1 with oneself, 0 from `radius` on. Sparse (CSR): memory is linear in cells.
    """
    cells = torch.arange(edge.numel(), device=edge.device).view(edge.shape)
    own, with_itself = cells.flatten(), torch.ones_like(edge).flatten()
    if radius == 1:  # no two cells are closer
        return _csr(own, own, with_itself, edge.numel())
    margin = (radius - 1, radius - 1, 0, radius - 1)
    ends = [path[0] for path in search_paths(radius)]
    targets = shifted(F.pad(cells, margin, value=-1), ends, radius)
    # Paths out of the image are cut off by a boundary of strength 1 around it.
    values = affinities(F.pad(edge, margin, value=1.0), radius) ** beta
    inside = targets >= 0
    source, target, value = cells.expand_as(targets)[inside], targets[inside], values[inside]
    return _csr(
        torch.cat([source, target, own]),
        torch.cat([target, source, own]),
        torch.cat([value, value, with_itself]),
        edge.numel(),
    )


def _csr(
    rows: Int[Tensor, "n"], columns: Int[Tensor, "n"], values: Float[Tensor, "n"], size: int
) -> Tensor:
    """A square matrix of unique entries; 32-bit indices, for which CPUs have a fast product."""
    order = (rows * size + columns).argsort()
    starts = F.pad(torch.bincount(rows, minlength=size).cumsum(0), (1, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts.int(), columns[order].int(), values[order], (size, size), check_invariants=False
        )


def random_walk(
    cams: Float[Tensor, "N h w"],
    edge: Float[Tensor, "h w"],
    *,
    radius: int = 5,
    beta: float = 10.0,
    exp_times: int = 8,
) -> Float[Tensor, "N h w"]:
    """Let the CAMs spread inside of boundaries: 2 ** exp_times steps of all maps at once.

    `edge` holds boundary probabilities in [0, 1]; where they are high, CAMs don't start. A step
    goes from cell to cell with the probability weight / sum of the weights into the target, which
    the published code writes as a dense column-normalised matrix, squared `exp_times` times.
    """
    # Rounding adds up over the steps, and float64 takes no longer: indices and latency dominate.
    matrix = weights(edge.double(), radius=radius, beta=beta)
    state = (cams * (1 - edge)).double().flatten(1).T.contiguous()
    incoming = matrix @ torch.ones_like(state[:, :1])
    for _ in range(2**exp_times):
        state = (matrix @ state) / incoming
    return state.T.reshape(cams.shape).to(cams.dtype)
