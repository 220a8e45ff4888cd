"""Regions of pixels as polygons, and back, without losing a pixel.

Corners lie between pixels: pixel (0, 0) is the square from (0, 0) to (1, 1); x is to the right, y
down.
Formats of polygons know no holes. One is joined to the outline around it by a seam, there and back,
which covers nothing: whoever fills by the even-odd rule, or by windings, leaves the hole out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Num

Region = Bool[np.ndarray, "H W"]
Polygon = Num[np.ndarray, "_ 2"]
"""Corners (x, y)."""

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


class _Loop(NamedTuple):
    corners: Int[np.ndarray, "N 2"]
    edges: Int[np.ndarray, "M 3"]
    """Direction, x and y of the start of each of its edges, which are 1 pixel long."""


def trace(region: Region) -> list[Int[np.ndarray, "_ 2"]]:
    """Trace the parts of a region that are connected by their sides, each as one polygon.

    Returns:
        One polygon for each part, its holes joined to it.
    """
    loops = _loops(region)
    holes = [i for i, loop in enumerate(loops) if _doubled_area(loop.corners) < 0]
    around = _owners(loops, holes, region.shape)
    polygons = {i: loop.corners for i, loop in enumerate(loops) if i not in around}
    for hole, part in around.items():
        polygons[part] = _joined(polygons[part], loops[hole].corners)
    return list(polygons.values())


def fill(polygon: Polygon, size: tuple[int, int]) -> Region:
    """Return the pixels whose centre lies within a polygon, by the even-odd rule.

    Args:
        polygon: Corners in any order around it, maybe beyond the image.
        size: Height and width of the image.
    """
    height, width = size
    starts, ends = polygon.astype(float), np.roll(polygon, -1, axis=0).astype(float)
    upper = np.where((starts[:, 1] <= ends[:, 1])[:, None], starts, ends)
    lower = np.where((starts[:, 1] <= ends[:, 1])[:, None], ends, starts)
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(int)
    counts = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(int) - first
    edge = np.repeat(np.arange(len(polygon)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (rows + 0.5 - upper[edge, 1]) / (lower[edge, 1] - upper[edge, 1])
    crossing = upper[edge, 0] + share * (lower[edge, 0] - upper[edge, 0])
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)
    crossed = np.zeros((height, width + 1), np.int64)
    np.add.at(crossed, (rows, columns), 1)
    return crossed.cumsum(axis=1)[:, :width] % 2 == 1


def _loops(region: Region) -> list[_Loop]:
    """Follow the borders of a region, which lies to the right of them."""
    there = _borders(region)
    height, width = there.shape[1:]
    following = _following(there)
    open_edges, loops = there.ravel().copy(), list[_Loop]()
    for start in np.flatnonzero(open_edges).tolist():
        if not open_edges[start]:
            continue
        path, edge = list[int](), start
        while open_edges[edge]:
            open_edges[edge] = False
            path.append(edge)
            edge = following[edge]
        direction, y, x = np.unravel_index(np.array(path), (4, height, width))
        edges = np.stack([direction, x, y], axis=1)
        turns = direction != np.roll(direction, 1)
        loops.append(_Loop(edges[turns, 1:], edges))
    return loops


def _borders(region: Region) -> Bool[np.ndarray, "4 _ _"]:
    """Mark the corners from which a border of 1 pixel goes right, down, left or up."""
    inside = np.pad(region, 1)
    core = inside[1:-1, 1:-1]
    height, width = region.shape
    there = np.zeros((4, height + 1, width + 1), bool)
    there[_RIGHT, :-1, :-1] = core & ~inside[:-2, 1:-1]
    there[_DOWN, :-1, 1:] = core & ~inside[1:-1, 2:]
    there[_LEFT, 1:, 1:] = core & ~inside[2:, 1:-1]
    there[_UP, 1:, :-1] = core & ~inside[1:-1, :-2]
    return there


def _following(there: Bool[np.ndarray, "4 h w"]) -> list[int]:
    """Return the border that follows each border; where two do, the one to the right.

    So it stays with its pixel, and parts that touch at a corner are two.
    """
    numbers = np.arange(there.size).reshape(there.shape)
    found = np.zeros_like(numbers)
    for direction, (x, y) in enumerate(_STEPS.tolist()):
        for turn in (3, 0, 1):  # the last one that is there counts
            onto = (direction + turn) % 4
            ends = np.roll(there[onto], (-y, -x), axis=(0, 1))
            found[direction] = np.where(
                ends, np.roll(numbers[onto], (-y, -x), axis=(0, 1)), found[direction]
            )
    return found.ravel().tolist()


def _owners(loops: Sequence[_Loop], holes: Sequence[int], size: tuple[int, ...]) -> dict[int, int]:
    """Find the outline around each hole: the border to the left of it, or of the hole there.

    Returns:
        Positions of holes and of their outlines, from left to right.
    """
    loop_of = np.full((size[0], size[1] + 1), -1)
    for number, loop in enumerate(loops):
        _, x, y = loop.edges[loop.edges[:, 0] == _UP].T
        loop_of[y - 1, x] = number
    columns = np.where(loop_of >= 0, np.arange(size[1] + 1), -1)
    nearest = np.maximum.accumulate(columns, axis=1)
    left = {hole: _leftmost(loops[hole]) for hole in holes}
    owners: dict[int, int] = {}
    for hole in sorted(holes, key=lambda hole: left[hole]):
        x, y = left[hole]
        found = int(loop_of[y, nearest[y, x - 1]])
        owners[hole] = owners.get(found, found)
    return owners


def _leftmost(hole: _Loop) -> tuple[int, int]:
    """Return x and y of the leftmost border of a hole, which has the region to its left."""
    down = hole.edges[hole.edges[:, 0] == _DOWN, 1:]
    x, y = down[np.argmin(down[:, 0])].tolist()
    return x, y


def _joined(outline: Polygon, hole: Polygon) -> Int[np.ndarray, "_ 2"]:
    """Join a hole to the outline around it by a seam between two corners near to each other."""
    start = np.argmin(hole[:, 0])
    turned = np.roll(hole, -start, axis=0)
    near = int(np.argmin(np.abs(outline - turned[0]).sum(axis=1)))
    seam = [turned, turned[:1], outline[near : near + 1]]
    return np.concatenate([outline[: near + 1], *seam, outline[near + 1 :]])


def _doubled_area(corners: Polygon) -> float:
    """Return twice the area, which is negative around a hole."""
    x, y = corners.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
