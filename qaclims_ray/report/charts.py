"""Draw charts as inline SVG, coloured by the page's style sheet, in light and in dark."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from qaclims_ray.report.render import render

Values = Float[np.ndarray, "N"]
Range = tuple[float, float]

LARGE = (460, 250)
SMALL = (320, 190)
"""Width and height of a chart in units of which a letter is 12 high."""
STYLES = ("baseline", "ours", "third", "fourth", "fifth", "sixth")
"""Colours, as classes of the style sheet."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 20, 36
_MAX_BINS = 100


class Line(NamedTuple):
    """A curve; where `low` and `high` are given, the area between them is shaded."""

    style: str
    """One of `STYLES`."""
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None


class Mark(NamedTuple):
    """A dot, with words beside it unless they are empty."""

    style: str
    """One of `STYLES`."""
    x: float
    y: float
    text: str = ""


class _Axes(NamedTuple):
    """Axes, which turn values into positions in the drawing."""

    x: Range
    y: Range
    size: tuple[int, int]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point."""
        width, height = self.size
        across, down = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM
        left, top = _LEFT + across * _share(x, self.x), height - _BOTTOM - down * _share(y, self.y)
        return round(left, 1), round(top, 1)

    def path(self, x: Values, y: Values) -> str:
        """Return the positions of points as SVG writes them, without those that are not finite."""
        known = np.isfinite(y)
        points = (self.at(float(a), float(b)) for a, b in zip(x[known], y[known], strict=True))
        return " ".join(f"{a},{b}" for a, b in points)


def chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str = "",
    size: tuple[int, int] = LARGE,
    marks: Sequence[Mark] = (),
    guide: float | None = None,
    from_zero: bool = False,
    ends: tuple[str, str] | None = None,
) -> Markup:
    """Draw curves and dots over one pair of axes.

    Args:
        lines: The curves; the last lies on top.
        title: A description for screen readers.
        x_label: Words below the axis.
        size: `LARGE` or `SMALL`.
        marks: Dots, above the curves.
        guide: Where to draw an upright line, if anywhere.
        from_zero: Let the vertical axis begin at 0, whatever the values are.
        ends: Words at 0 and at 1 of the horizontal axis, in place of its numbers.
    """
    axes = _axes(lines, marks, size, from_zero, None if ends is None else (0.0, 1.0))
    (left, bottom), (right, top) = (axes.at(axes.x[i], axes.y[i]) for i in (0, 1))
    if ends is None:
        numbers = [value for value in _nice(axes.x) if axes.x[0] <= value <= axes.x[1]]
        x_ticks = [(axes.at(value, 0.0)[0], f"{value:g}", "middle") for value in numbers]
    else:
        x_ticks = [(left, ends[0], "start"), (right, ends[1], "end")]
    return render(
        "chart.svg",
        title=title,
        x_label=x_label,
        width=size[0],
        height=size[1],
        left=_LEFT,
        right=size[0] - _RIGHT,
        bottom=bottom,
        top=top,
        y_ticks=[(axes.at(0.0, value)[1], f"{value:g}") for value in _nice(axes.y)],
        x_ticks=x_ticks,
        guide=None if guide is None else axes.at(guide, 0.0)[0],
        curves=[(line.style, axes.path(line.x, line.y), _band(axes, line)) for line in lines],
        dots=[(mark.style, *axes.at(mark.x, mark.y), mark.text) for mark in marks],
    )


def binned(style: str, x: Values, y: Values) -> Line:
    """Reduce a long noisy curve to the means of at most 100 runs of it, with their range."""
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
    cells: Mapping[tuple[int, int], tuple[float, str]],
    *,
    title: str,
) -> Markup:
    """Draw a table of shares, the deeper coloured the larger they are.

    Args:
        rows: Their names.
        columns: Their names, written slantwise.
        cells: Share in [0, 1] and text of the cells (row, column) that are not empty.
        title: A description for screen readers.
    """
    left, top = 7 * max(map(len, rows)) + 16, 5 * max(map(len, columns)) + 16
    num_columns = range(len(columns))
    return render(
        "heat.svg",
        rows=rows,
        columns=columns,
        table=[[cells.get((i, j), (0.0, "")) for j in num_columns] for i in range(len(rows))],
        title=title,
        left=left,
        top=top,
        width=left + 34 * len(columns) + top,
        height=top + 22 * len(rows),
    )


def _axes(
    lines: Sequence[Line],
    marks: Sequence[Mark],
    size: tuple[int, int],
    from_zero: bool,
    x_range: Range | None,
) -> _Axes:
    dots = np.array([(mark.x, mark.y) for mark in marks]).reshape(-1, 2)
    x = np.concatenate([dots[:, 0], *(line.x for line in lines)])
    heights = [values for line in lines for values in line[2:] if values is not None]
    y = np.concatenate([dots[:, 1], *heights])
    y = y[np.isfinite(y)]
    low = min(0.0, float(y.min())) if from_zero else float(y.min())
    ticks = _nice((low, float(y.max())))
    return _Axes(x_range or (float(x.min()), float(x.max())), (ticks[0], ticks[-1]), size)


def _band(axes: _Axes, line: Line) -> str:
    if line.low is None or line.high is None:
        return ""
    return f"{axes.path(line.x, line.high)} {axes.path(line.x[::-1], line.low[::-1])}"


def _nice(limits: Range) -> list[float]:
    """Return round numbers that enclose a range."""
    return list(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits))


def _share(value: float, limits: Range) -> float:
    low, high = limits
    return (value - low) / (high - low) if high > low else 0.5
