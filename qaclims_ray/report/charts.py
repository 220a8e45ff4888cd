"""Charts of a report as inline SVG, coloured by the page's style sheet, in light and in dark."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import MaxNLocator

Values = Float[np.ndarray, "N"]
Range = tuple[float, float]

LARGE = (460, 250)
SMALL = (320, 190)
"""Width and height of a chart in units of which a letter is 12 high."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 14, 36
_MAX_BINS = 100
_CELL = (34, 22)
_DEEP = 0.6
"""Share from which a cell is too dark for dark letters."""


class Line(NamedTuple):
    """A curve; where `low` and `high` are given, what lies between them is shaded."""

    style: str
    """Class of the style sheet: `baseline` or `ours`."""
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None


class Mark(NamedTuple):
    """A point of a curve, with its words."""

    style: str
    x: float
    y: float
    text: str


class _Axes(NamedTuple):
    """From values to positions in the drawing."""

    x: Range
    y: Range
    size: tuple[int, int]

    def at(self, x: float, y: float) -> tuple[float, float]:
        width, height = self.size
        across, down = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM
        return (
            _LEFT + across * _share(x, self.x),
            height - _BOTTOM - down * _share(y, self.y),
        )

    def path(self, x: Values, y: Values) -> str:
        known = np.isfinite(y)
        points = (self.at(float(a), float(b)) for a, b in zip(x[known], y[known], strict=True))
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    size: tuple[int, int] = LARGE,
    marks: Sequence[Mark] = (),
    guide: float | None = None,
    from_zero: bool = False,
) -> str:
    """An SVG of curves over one pair of axes.

    Args:
        lines: The curves; the last lies on top.
        title: What the drawing shows, for those who hear it.
        x_label: Words below the axis.
        size: `LARGE` or `SMALL`.
        marks: Points with words.
        guide: Where to draw an upright line, if anywhere.
        from_zero: The vertical axis begins at 0, whatever the values are.
    """
    axes = _axes(lines, size, from_zero)
    width, height = size
    parts = [
        *_ticks(axes),
        f'<text class="label" x="{width - _RIGHT}" y="{height - 4}" text-anchor="end">'
        f"{escape(x_label)}</text>",
        *([_upright(axes, guide)] if guide is not None else []),
        *(_curve(axes, line) for line in lines),
        *(_point(axes, mark) for mark in marks),
    ]
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def binned(style: str, x: Values, y: Values) -> Line:
    """A long noisy curve as the means of at most 100 runs of it, with their range of values."""
    num_bins = min(_MAX_BINS, math.ceil(len(y) / 4))
    parts = np.array_split(y, num_bins)
    return Line(
        style,
        np.array([part.mean() for part in np.array_split(x, num_bins)]),
        np.array([part.mean() for part in parts]),
        np.array([part.min() for part in parts]),
        np.array([part.max() for part in parts]),
    )


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    shares: Float[np.ndarray, "rows columns"],
    notes: Sequence[Sequence[str]],
    *,
    title: str,
) -> str:
    """An SVG of a table of shares in [0, 1], the deeper coloured the larger.

    Args:
        rows: Their names.
        columns: Their names, written slantwise.
        shares: Of each cell.
        notes: Text in each cell; where it is empty, none.
        title: What the drawing shows, for those who hear it.
    """
    left, top = 7 * max(map(len, rows)) + 16, 5 * max(map(len, columns)) + 16
    width, height = left + _CELL[0] * len(columns) + top, top + _CELL[1] * len(rows)
    parts = [
        *(_row_name(name, left - 8, top + _CELL[1] * i) for i, name in enumerate(rows)),
        *(_column_name(name, left + _CELL[0] * i, top - 6) for i, name in enumerate(columns)),
        *(
            _cell(left + _CELL[0] * j, top + _CELL[1] * i, float(shares[i, j]), notes[i][j])
            for i in range(len(rows))
            for j in range(len(columns))
        ),
    ]
    return (
        f'<svg class="chart heat" viewBox="0 0 {width} {height}" role="img" '
        f'style="max-width:{width}px" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _row_name(name: str, x: int, y: int) -> str:
    middle = y + _CELL[1] / 2 + 4
    return f'<text x="{x}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>'


def _column_name(name: str, x: int, y: int) -> str:
    middle = x + _CELL[0] // 2
    return f'<text transform="translate({middle} {y}) rotate(-45)">{escape(name)}</text>'


def _cell(x: int, y: int, share: float, note: str) -> str:
    width, height = _CELL
    words = (
        f'<text class="{"deep" if share > _DEEP else "light"}" x="{x + width // 2}" '
        f'y="{y + height // 2 + 4}" text-anchor="middle">{escape(note)}</text>'
        if note
        else ""
    )
    return (
        f'<rect class="empty" x="{x}" y="{y}" width="{width - 1}" height="{height - 1}"/>'
        f'<rect class="full" x="{x}" y="{y}" width="{width - 1}" height="{height - 1}" '
        f'fill-opacity="{share:.2f}"/>{words}'
    )


def _axes(lines: Sequence[Line], size: tuple[int, int], from_zero: bool) -> _Axes:
    x = np.concatenate([line.x for line in lines])
    y = np.concatenate([values for line in lines for values in _heights(line)])
    y = y[np.isfinite(y)]
    low = min(0.0, float(y.min())) if from_zero else float(y.min())
    ticks = _nice((low, float(y.max())))
    return _Axes((float(x.min()), float(x.max())), (ticks[0], ticks[-1]), size)


def _heights(line: Line) -> list[Values]:
    return [values for values in (line.y, line.low, line.high) if values is not None]


def _nice(limits: Range) -> list[float]:
    """Round numbers that enclose a range."""
    return list(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits))


def _share(value: float, limits: Range) -> float:
    low, high = limits
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(axes: _Axes) -> list[str]:
    parts: list[str] = []
    right = axes.size[0] - _RIGHT
    for value in _nice(axes.y):
        x, y = axes.at(axes.x[0], value)
        parts.append(f'<path class="grid" d="M{x:.1f} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{x - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _nice(axes.x):
        if axes.x[0] <= value <= axes.x[1]:
            x, y = axes.at(value, axes.y[0])
            parts.append(
                f'<text x="{x:.1f}" y="{y + 17:.1f}" text-anchor="middle">{value:g}</text>'
            )
    return parts


def _upright(axes: _Axes, x: float) -> str:
    (across, bottom), (_, top) = axes.at(x, axes.y[0]), axes.at(x, axes.y[1])
    return f'<path class="guide" d="M{across:.1f} {bottom:.1f}V{top:.1f}"/>'


def _curve(axes: _Axes, line: Line) -> str:
    band = ""
    if line.low is not None and line.high is not None:
        there, back = axes.path(line.x, line.high), axes.path(line.x[::-1], line.low[::-1])
        band = f'<polygon class="band {line.style}" points="{there} {back}"/>'
    return f'{band}<polyline class="{line.style}" points="{axes.path(line.x, line.y)}"/>'


def _point(axes: _Axes, mark: Mark) -> str:
    """A dot, with its words on the side where there is room."""
    x, y = axes.at(mark.x, mark.y)
    anchor, shift = ("end", -9) if x > axes.size[0] * 0.65 else ("start", 9)
    return (
        f'<circle class="{mark.style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
        f'<text class="mark" x="{x + shift:.1f}" y="{y - 7:.1f}" text-anchor="{anchor}">'
        f"{escape(mark.text)}</text>"
    )
