"""Masks a second of the random walk: sparse steps, and the published dense matrix."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from qaclims_ray.benchmark.measure import Way, Ways
from qaclims_ray.benchmark.sizes import Sizes
from qaclims_ray.model.affinity import affinities, random_walk, search_paths, shifted, weights

RADIUS, BETA, EXP_TIMES = 5, 10.0, 8
"""Published."""
NUM_CLASSES = 2


def random_boundaries(height: int, width: int) -> Float[Tensor, "{height} {width}"]:
    """Weak noise and lines every 16 cells; no denormal numbers, which slow the dense form down."""
    edge = torch.rand(height, width) / 5
    edge[::16] = edge[:, ::16] = 0.8
    return edge


def dense_walk(
    cams: Float[Tensor, "N h w"], edge: Float[Tensor, "h w"], *, squared: bool = True
) -> Float[Tensor, "N h w"]:
    """The published way: a dense matrix of all pairs of cells, squared 8 times.

    Without `squared` the maps are multiplied with it 256 times, as a careful hand would.
    """
    height, width = edge.shape
    padded = F.pad(edge, (RADIUS, RADIUS, 0, RADIUS), value=1.0)
    cells = torch.arange(padded.numel(), device=edge.device).view(padded.shape)
    source = shifted(cells, [(0, 0)], RADIUS).flatten()
    target = shifted(cells, [path[0] for path in search_paths(RADIUS)], RADIUS).flatten(1)
    values = affinities(padded, RADIUS).flatten(1)
    matrix = torch.eye(padded.numel(), device=edge.device)
    matrix[source.expand_as(target), target] = values
    matrix[target, source.expand_as(target)] = values
    kept = cells[:height, RADIUS : RADIUS + width].flatten()
    matrix = matrix[kept][:, kept] ** BETA
    matrix /= matrix.sum(0)
    maps = (cams * (1 - edge)).flatten(1)
    for _ in range(EXP_TIMES if squared else 0):
        matrix = matrix @ matrix
    for _ in range(1 if squared else 2**EXP_TIMES):
        maps = maps @ matrix
    return maps.view(cams.shape)


def bytes_read(edge: Float[Tensor, "h w"]) -> int:
    """What the sparse walk cannot but read: its matrix (8 + 4 bytes an entry) in each step."""
    matrix = weights(edge.double(), radius=RADIUS, beta=BETA)
    return 12 * matrix.values().numel() * 2**EXP_TIMES


def ways(device: torch.device, sizes: Sizes) -> Ways:
    """Both ways; on a CPU the dense one at half the side, its time multiplied by the FLOP."""
    height, width = ((side - 1) // 4 + 1 for side in sizes.image)
    edge = random_boundaries(height, width).to(device)
    cams = torch.rand(NUM_CLASSES, height, width, device=device)
    run_sparse = partial(random_walk, cams, edge, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES)
    num_bytes = bytes_read(edge)
    sparse = Way(
        "ours",
        "sparse steps",
        "float64",
        f"1 image, {height} x {width} cells",
        1,
        flops=num_bytes / 12 * 2 * NUM_CLASSES,
        num_bytes=num_bytes,
        growth=1,
    )
    step = 1 if device.type == "cuda" else 2
    return {sparse: run_sparse, **_dense(cams[:, ::step, ::step], edge[::step, ::step], edge)}


def _dense(cams: Tensor, edge: Tensor, whole: Tensor) -> Ways:
    """The dense form with `edge`, which may stand for a larger, `whole` one."""
    stretch = (whole.numel() / edge.numel()) ** 3
    batch = f"1 image, {edge.shape[0]} x {edge.shape[1]} cells"
    if stretch > 1:
        batch = f"{edge.shape[0]} x {edge.shape[1]} cells, time x {stretch:.0f}"
    way = Way("published", "dense matrix squared", "float32", batch, 1, stretch=stretch, growth=3)
    return {way: partial(dense_walk, cams, edge)}
