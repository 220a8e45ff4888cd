"""Affinities between nearby pixels, read off a boundary map, and the random walk they drive.

Source: Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
Relations" (CVPR 2019), section 3; published code `misc/indexing.py`.

Two pixels closer than `radius` are paired once: from a source pixel to one below it, or right of it
in the same row. Their affinity is 1 - the strongest boundary on the straight path between them.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

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
    """List one path per destination closer than `radius` cells, by their numbers of cells.

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
    """Gather the values at some offsets closer than `radius` from each source pixel.

    Sources are the cells that have all offsets of the radius inside the grid: the columns but for
    the first and last `radius - 1`, the rows but for the last `radius - 1`.

    Raises:
        ValueError: the grid is so small that it has no sources.
    """
    return _at(_windows(grid, radius), offsets, radius)


def _windows(grid: Shaped[Tensor, "*B H W"], radius: int) -> Shaped[Tensor, "*B m h w"]:
    """Values in the `radius` rows and 2 * `radius` - 1 columns around each source pixel."""
    (height, width), span = grid.shape[-2:], 2 * radius - 1
    if height < radius or width < span:
        raise ValueError(
            f"{height} x {width} cells hold no pairs within a radius of {radius} cells, which "
            f"takes {radius} x {span}: take larger images or a smaller radius"
        )
    windows = grid.unfold(-2, radius, 1).unfold(-2, span, 1)
    return windows.movedim((-2, -1), (-4, -3)).flatten(-4, -3)


def _at(
    windows: Shaped[Tensor, "*B m h w"], offsets: Sequence[Offset], radius: int
) -> Shaped[Tensor, "*B n h w"]:
    places = [y * (2 * radius - 1) + radius - 1 + x for y, x in offsets]
    return windows.index_select(-3, torch.tensor(places, device=windows.device, dtype=torch.int64))


def strongest(grid: Float[Tensor, "*B H W"], radius: int) -> Float[Tensor, "*B n h w"]:
    """Find the largest value on the path from each source pixel to each end of `search_paths`.

    Paths of one length are read at once, from windows that are cut out once. The gradient of a
    cell, which lies on thousands of paths, is then a sum of short sums, which float32 gets right.
    For sources see `shifted`.
    """
    windows = _windows(grid, radius)
    found = [windows[..., :0, :, :]]  # within a radius of 1 there are no paths
    for length, paths in groupby(search_paths(radius), key=len):
        cells = _at(windows, [cell for path in paths for cell in path], radius)
        found.append(cells.unflatten(-3, (-1, length)).max(dim=-3).values)
    return torch.cat(found, dim=-3)


def affinities(edge: Float[Tensor, "*B H W"], radius: int) -> Float[Tensor, "*B n h w"]:
    """Compute the affinity of each source pixel with each end of `search_paths`, in [0, 1].

    `edge` holds boundary probabilities in [0, 1]. For sources see `shifted`.
    """
    return 1 - strongest(edge, radius)


def weights(edge: Float[Tensor, "*B h w"], *, radius: int, beta: float) -> Tensor:
    """Build the symmetric matrix of the affinities of all pairs of cells, to the power of `beta`.

    1 with oneself, 0 from `radius` on and between images of a batch, whose cells are numbered one
    image after another. Sparse (CSR): memory is linear in cells.
    """
    cells = torch.arange(edge.numel(), device=edge.device).view(edge.shape)
    margin = (radius - 1, radius - 1, 0, radius - 1)
    ends = [path[0] for path in search_paths(radius)]
    targets = shifted(F.pad(cells, margin, value=-1), ends, radius)
    # Paths out of the image are cut off by a boundary of strength 1 around it.
    values = affinities(F.pad(edge, margin, value=1.0), radius) ** beta
    inside = targets >= 0
    source = cells.unsqueeze(-3).expand_as(targets)[inside]
    target, value, own = targets[inside], values[inside], cells.flatten()
    return _csr(
        torch.cat([source, target, own]),
        torch.cat([target, source, own]),
        torch.cat([value, value, torch.ones_like(edge).flatten()]),
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
    cams: Float[Tensor, "*B N h w"],
    edge: Float[Tensor, "*B h w"],
    *,
    radius: int = 5,
    beta: float = 10.0,
    exp_times: int = 8,
) -> Float[Tensor, "*B N h w"]:
    """Let the CAMs spread inside of boundaries: 2 ** exp_times steps of all maps at once.

    `edge` holds boundary probabilities in [0, 1]; where they are high, CAMs don't start. A step
    goes from cell to cell with the probability weight / sum of the weights into the target, which
    the published code writes as a dense column-normalised matrix, squared `exp_times` times.

    Images of one size may walk together. Each map walks by itself, so a map of zeros fills up an
    image with fewer classes than others of its batch.
    """
    # Rounding adds up over the steps, and float64 takes no longer: indices and latency dominate.
    matrix = weights(edge.double(), radius=radius, beta=beta)
    state = (cams * (1 - edge.unsqueeze(-3))).double().movedim(-3, -1).flatten(0, -2).contiguous()
    incoming = matrix @ state.new_ones(len(state), 1)
    for _ in range(2**exp_times):
        state = (matrix @ state) / incoming
    return state.view(*edge.shape, cams.shape[-3]).movedim(-1, -3).to(cams.dtype)
