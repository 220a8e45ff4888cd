"""Drawings of the trials of a search, as SVG."""

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from qaclims_ray.config.search import Domain
from qaclims_ray.report.charts import SMALL, Line, Mark, line_chart
from qaclims_ray.search.rows import TrialRow
from qaclims_ray.search.space import Space

_WIDTH, _HEIGHT, _TOP, _BOTTOM, _SIDE = 820, 260, 34, 24, 60
_DOT_LEFT, _DOT_BOTTOM = 46, 36
_TITLES = {
    "miou": "mIoU",
    "fixed_miou": "mIoU at the fixed threshold",
    "precision": "precision",
    "recall": "recall",
}


def score_of(row: TrialRow) -> float:
    """By which trials are ordered; 0 for one that was never scored."""
    return row["score"] or 0.0


def short(value: Any) -> str:
    """A value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')


def share(value: Any, domain: Domain) -> float:
    """Where a value lies between the ends of its domain, from 0 to 1."""
    ((kind, values),) = domain.items()
    if kind in ("choice", "grid"):
        return values.index(value) / max(1, len(values) - 1)
    low, high = values
    if kind == "log_uniform":
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


class Metric(NamedTuple):
    """One of `tune.metrics` of some trials."""

    title: str
    values: list[float]
    """In percent, in the order of the trials."""

    @property
    def ends(self) -> tuple[str, str]:
        """The lowest and the highest value."""
        return f"{min(self.values):.1f}", f"{max(self.values):.1f}"

    @property
    def shares(self) -> list[float]:
        """Where the values lie between lowest and highest, from 0 to 1."""
        low, high = min(self.values), max(self.values)
        return [(value - low) / ((high - low) or 1.0) for value in self.values]


def metrics_of(rows: Sequence[TrialRow], names: Sequence[str]) -> list[Metric]:
    """What trials were scored by, in the order of `tune.metrics`."""
    first = Metric(_TITLES[names[0]], [100 * score_of(row) for row in rows])
    others = [
        Metric(_TITLES[name], [100 * row["others"][name] for row in rows]) for name in names[1:]
    ]
    return [first, *others]


def parallel_coordinates(rows: Sequence[TrialRow], space: Space, metrics: Sequence[Metric]) -> str:
    """An SVG with an upright axis for each key and each metric; a line is a trial.

    Args:
        rows: Scored trials, the last of which stands out.
        space: Of the search.
        metrics: Of these trials; by the first they are ordered.
    """
    names = [*(key.rsplit(".", 1)[-1] for key in space), *(one.title for one in reversed(metrics))]
    ends = [*map(_ends, space.values()), *(one.ends for one in reversed(metrics))]
    step = (_WIDTH - 2 * _SIDE) / max(1, len(names) - 1)
    shares = zip(*(one.shares for one in reversed(metrics)), strict=True)
    places = [
        [*(share(row["overrides"][key], domain) for key, domain in space.items()), *scored]
        for row, scored in zip(rows, shares, strict=True)
    ]
    axes = "".join(_axis(_SIDE + step * i, name, *ends[i]) for i, name in enumerate(names))
    lines = "".join(_trial_line(one, step, one is places[-1]) for one in places)
    return (
        f'<svg class="chart" style="max-width:{_WIDTH}px" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="Values and score of each trial">{axes}{lines}</svg>'
    )


def _ends(domain: Domain) -> tuple[str, str]:
    ((_, values),) = domain.items()
    return short(values[0]), short(values[-1])


def _axis(x: float, name: str, low: str, high: str) -> str:
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>'
        f'<text x="{x:.1f}" y="14" text-anchor="middle" class="mark">{escape(name)}</text>'
        f'<text x="{x:.1f}" y="{_TOP - 4}" text-anchor="middle">{escape(high)}</text>'
        f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(low)}</text>'
    )


def _trial_line(places: Sequence[float], step: float, best: bool) -> str:
    height = _HEIGHT - _TOP - _BOTTOM
    points = " ".join(
        f"{_SIDE + step * i:.1f},{_HEIGHT - _BOTTOM - height * place:.1f}"
        for i, place in enumerate(places)
    )
    style = "ours" if best else "baseline"
    # The better a trial, the stronger its line.
    opacity = 1.0 if best else 0.15 + 0.6 * places[-1]
    return f'<polyline class="{style}" opacity="{opacity:.2f}" points="{points}"/>'


def scatter(rows: Sequence[TrialRow], key: str, domain: Domain, metric: Metric) -> str:
    """An SVG of a metric over the values of a key; a logarithmic one where it is drawn so.

    Trials that did not run to the end are paler.
    """
    across = [share(row["overrides"][key], domain) for row in rows]
    strong = [row["status"] == "complete" for row in rows]
    return _dots(across, metric, strong, f"{metric.title} over {key}", _ends(domain))


def front_chart(rows: Sequence[TrialRow], first: Metric, other: Metric) -> str:
    """An SVG of one metric over another; trials that no other beats by all metrics are stronger."""
    strong = [row["front"] for row in rows]
    return _dots(other.shares, first, strong, f"{first.title} over {other.title}", other.ends)


def _dots(
    across: Sequence[float],
    metric: Metric,
    strong: Sequence[bool],
    label: str,
    ends: tuple[str, str],
) -> str:
    """Dots at shares of the width and of the metric's range; `ends` are words of the x axis."""
    width, height = SMALL
    dots = "".join(
        f'<circle class="{"ours" if best else "baseline"}" r="4" '
        f'cx="{_DOT_LEFT + (width - _DOT_LEFT - 16) * x:.1f}" cy="{_dot_height(y):.1f}"/>'
        for x, y, best in zip(across, metric.shares, strong, strict=True)
    )
    bottom, (first, last), (low, high) = height - _DOT_BOTTOM, ends, metric.ends
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">'
        f'<path class="grid" d="M{_DOT_LEFT} 14V{bottom}M{_DOT_LEFT} {bottom}H{width - 16}"/>{dots}'
        f'<text x="40" y="{_dot_height(0.0) + 4:.0f}" text-anchor="end">{low}</text>'
        f'<text x="40" y="{_dot_height(1.0) + 4:.0f}" text-anchor="end">{high}</text>'
        f'<text x="{_DOT_LEFT}" y="{height - 16}">{escape(first)}</text>'
        f'<text x="{width - 16}" y="{height - 16}" text-anchor="end">{escape(last)}</text></svg>'
    )


def _dot_height(part: float) -> float:
    bottom = SMALL[1] - _DOT_BOTTOM - 8
    return bottom - (bottom - 20) * part


def curves(rows: Sequence[TrialRow], thresholds: Sequence[float]) -> str:
    """Curves of mIoU over the threshold; the last one stands out."""
    x = np.array(thresholds)
    drawn = [row for row in rows if row["curve"]]
    lines = [Line("baseline", x, 100 * np.array(row["curve"])) for row in drawn[:-1]]
    best = np.array(drawn[-1]["curve"])
    at = int(best.argmax())
    mark = Mark("ours", float(x[at]), 100 * float(best[at]), f"{100 * best[at]:.1f}")
    return line_chart(
        [*lines, Line("ours", x, 100 * best)],
        title="mIoU of trials over the threshold",
        x_label="background threshold",
        marks=[mark],
        from_zero=True,
    )
