"""Draw the trials of a search."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from qaclims_ray.config.search import Domain
from qaclims_ray.report.charts import SMALL, Line, Mark, chart
from qaclims_ray.report.render import render
from qaclims_ray.search.rows import TrialRow
from qaclims_ray.search.space import Space

_WIDTH, _TOP, _BOTTOM, _SIDE = 820, 34, 236, 60
_TITLES = {
    "miou": "mIoU",
    "fixed_miou": "mIoU at the fixed threshold",
    "precision": "precision",
    "recall": "recall",
}


def score_of(row: TrialRow) -> float:
    """Return the score that orders trials; 0 for one that was never scored."""
    return row["score"] or 0.0


def short(value: Any) -> str:
    """Write a value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')


def overrides_line(overrides: Mapping[str, Any]) -> str:
    """Write the overrides of a trial in one line."""
    return ", ".join(f"{key} {short(value)}" for key, value in overrides.items())


def share(value: Any, domain: Domain) -> float:
    """Return where a value lies between the ends of its domain, from 0 to 1."""
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
    """Scores in percent, in the order of the trials."""

    @property
    def ends(self) -> tuple[str, str]:
        """The lowest and the highest value."""
        return f"{min(self.values):.1f}", f"{max(self.values):.1f}"

    @property
    def shares(self) -> list[float]:
        """Where the values lie between lowest and highest, from 0 to 1."""
        low, high = min(self.values), max(self.values)
        return [(value - low) / ((high - low) or 1.0) for value in self.values]


def metric_of(rows: Sequence[TrialRow], name: str) -> Metric:
    """Return the metric by which trials were scored (`tune.metric`)."""
    return Metric(_TITLES[name], [100 * score_of(row) for row in rows])


def parallel_coordinates(rows: Sequence[TrialRow], space: Space, metric: Metric) -> Markup:
    """Draw a line per trial over an upright axis for each key and one for the metric.

    Args:
        rows: Scored trials, the last of which stands out.
        space: Keys and their domains.
        metric: Scores of these trials.
    """
    names = [*(key.rsplit(".", 1)[-1] for key in space), metric.title]
    ends = [*map(_ends, space.values()), metric.ends]
    across = np.linspace(_SIDE, _WIDTH - _SIDE, len(names)).round(1).tolist()
    lines: list[tuple[str, str, str]] = []
    for i, row in enumerate(rows):
        places = [share(row["overrides"][key], domain) for key, domain in space.items()]
        places.append(metric.shares[i])
        down = [_BOTTOM - (_BOTTOM - _TOP) * place for place in places]
        points = " ".join(f"{x},{y:.1f}" for x, y in zip(across, down, strict=True))
        if i == len(rows) - 1:
            lines.append(("ours", "1.00", points))
        else:  # The better a trial, the stronger its line.
            lines.append(("baseline", f"{0.15 + 0.6 * places[-1]:.2f}", points))
    axes = [(x, name, *end) for x, name, end in zip(across, names, ends, strict=True)]
    return render("parallel.svg", width=_WIDTH, top=_TOP, bottom=_BOTTOM, axes=axes, lines=lines)


def scatter(rows: Sequence[TrialRow], key: str, domain: Domain, metric: Metric) -> Markup:
    """Draw a metric over the values of a key, on the key's own scale.

    Trials that did not run to the end are paler.
    """
    across = [share(row["overrides"][key], domain) for row in rows]
    marks = [
        Mark("ours" if row["status"] == "complete" else "baseline", x, y)
        for row, x, y in zip(rows, across, metric.values, strict=True)
    ]
    title = f"{metric.title} over {key}"
    return chart([], title=title, size=SMALL, marks=marks, ends=_ends(domain))


def curves(rows: Sequence[TrialRow], thresholds: Sequence[float]) -> Markup:
    """Draw mIoU over the threshold; the last trial stands out."""
    x = np.array(thresholds)
    *others, best = (100 * np.array(row["curve"]) for row in rows if row["curve"])
    at = int(best.argmax())
    return chart(
        [*(Line("baseline", x, y) for y in others), Line("ours", x, best)],
        title="mIoU of trials over the threshold",
        x_label="background threshold",
        marks=[Mark("ours", float(x[at]), float(best[at]), f"{best[at]:.1f}")],
        from_zero=True,
    )


def _ends(domain: Domain) -> tuple[str, str]:
    ((_, values),) = domain.items()
    return short(values[0]), short(values[-1])
