"""A search in the report: who won, and what each value did, as HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.report.charts import Line, Mark, line_chart
from qaclims_ray.report.trials import (
    curves,
    front_chart,
    metrics_of,
    parallel_coordinates,
    scatter,
    score_of,
    short,
)
from qaclims_ray.search.results import DEFAULT, FINALISTS, Finalist
from qaclims_ray.search.rows import TrialRow, read_trials
from qaclims_ray.search.space import Space
from qaclims_ray.search.thresholds import SEEDS, SeedChoice
from qaclims_ray.search.walk import WALK, WalkChoice
from qaclims_ray.storage.files import read_json
from qaclims_ray.storage.paths import absolute

_CURVES = 20
"""Trials whose curves are drawn, the best ones."""


def search_summary(experiment: Experiment) -> str:
    """What `<run>/search` holds; nothing where there is none."""
    folder = f"{absolute(experiment.run)}/search"
    found, seeds, walk = (read_json(f"{folder}/{file}") for file in (FINALISTS, SEEDS, WALK))
    parts: list[str] = []
    if found is not None:
        parts.append(finalist_table(found["finalists"], found["winner"]))
        parts.append(_trials(folder, found))
    if seeds is not None:
        parts.append(_seeds(seeds))
    if walk is not None:
        parts.append(_walk(walk))
    return "".join(parts)


def _trials(folder: str, found: Mapping[str, Any]) -> str:
    space: Space = {
        key: {kind: tuple(values) for kind, values in domain.items()}
        for key, domain in found["space"].items()
    }
    rows = read_trials(folder, space, found["metrics"][1:])
    scored = sorted(
        (row for row in rows if row["score"] is not None),
        key=lambda row: (row["trial"] == found["winner"], score_of(row)),
    )
    failed = [row for row in rows if row["status"] == "failed"]
    drawn = _drawings(scored, space, found) if scored else ""
    return f"<h3>All trials <small>{_counts(rows)}</small></h3>{drawn}{_failures(failed)}"


def _drawings(rows: Sequence[TrialRow], space: Space, found: Mapping[str, Any]) -> str:
    metrics = metrics_of(rows, found["metrics"])
    first, shares = metrics[0], found["importance"]
    figures = "".join(
        _figure(escape(key) + _share(key, shares), scatter(rows, key, domain, first))
        for key, domain in space.items()
    )
    fronts = "".join(
        _figure(f"{first.title} over {one.title}", front_chart(rows, first, one))
        for one in metrics[1:]
    )
    return (
        f"{parallel_coordinates(rows, space, metrics)}{_front(fronts)}"
        f'<h3>Score and each value</h3><div class="charts">{figures}</div>'
        "<h3>mIoU over the threshold <small>on the choosing images</small></h3>"
        f"{curves(rows[-_CURVES:], found['thresholds'])}"
    )


def _front(figures: str) -> str:
    if not figures:
        return ""
    words = "trials that no other beats by all metrics are stronger"
    return f'<h3>Pareto front <small>{words}</small></h3><div class="charts">{figures}</div>'


def _figure(caption: str, drawing: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{drawing}</figure>"


def _share(key: str, shares: Mapping[str, float] | None) -> str:
    return "" if shares is None else f" <small>importance {100 * shares[key]:.0f}%</small>"


def _counts(rows: Sequence[TrialRow]) -> str:
    numbers = {
        status: sum(row["status"] == status for row in rows)
        for status in ("complete", "stopped", "failed")
    }
    words = {"complete": "trained to the end", "stopped": "stopped early", "failed": "failed"}
    return ", ".join(f"{number} {words[status]}" for status, number in numbers.items())


def finalist_table(found: Sequence[Finalist], winner: str) -> str:
    """Finalists over seeds: mean and standard deviation of mIoU in percent, the winner marked."""
    rows = "".join(
        f"<tr><th>{escape(_title(one, winner))}<small>{escape(_told(one))}</small>"
        f'</th><td class="{"ours" if one["name"] == winner else "baseline"}">'
        f"<b>{_spread(one['held_out'])}</b></td><td>{_spread(one['choosing'])}</td>"
        f"<td>{one['threshold']:g}</td></tr>"
        for one in sorted(found, key=lambda one: -float(np.mean(one["choosing"])))
    )
    seeds = ", ".join(map(str, found[0]["seeds"]))
    return (
        '<table class="scores"><thead><tr><th></th><th>Held-out images</th><th>Choosing images</th>'
        f"<th>Threshold</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<div class="note"><p>mIoU in %, mean &plusmn; standard deviation over train.seed {seeds}.'
        " Trials, thresholds and the winner were chosen by the choosing images alone."
        " A training that diverged counts as 0.</p></div>"
    )


def _title(one: Finalist, winner: str) -> str:
    name = "Own values of the configuration" if one["name"] == DEFAULT else one["name"]
    return f"{name}, the winner" if one["name"] == winner else name


def _told(one: Finalist) -> str:
    """A finalist's values, and the seeds that it came to no network with."""
    diverged = [f"diverged with seed {seed}" for seed in one["diverged"]]
    return ", ".join(filter(None, [_values(one["overrides"]), *diverged]))


def _values(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {short(value)}" for key, value in overrides.items())


def _spread(values: Sequence[float]) -> str:
    spread = np.std(values, ddof=len(values) > 1)
    return f"{100 * np.mean(values):.1f} &plusmn; {100 * spread:.1f}"


def _failures(rows: Sequence[TrialRow]) -> str:
    return "".join(
        f"<details><summary>{escape(row['trial'])} failed: "
        f"{escape((row['error'] or '').strip().rsplit(chr(10), 1)[-1])}</summary>"
        f"<pre>{escape(_values(row['overrides']))}\n\n{escape(row['error'] or '')}</pre></details>"
        for row in rows
    )


def _seeds(found: SeedChoice) -> str:
    """The thresholds of seeds, and what coverage costs."""
    rows = "".join(
        f"<tr><th>{title}</th><td>{score['foreground']:g}, {score['background']:g}</td>"
        f"<td><b>{100 * score['miou']:.1f}</b></td><td>{100 * score['coverage']:.1f}</td></tr>"
        for title, score in (("Chosen", found["held_out"]), ("Published", found["published"]))
    )
    front = sorted(found["front"], key=lambda one: one["coverage"])
    x, y = (np.array([100 * one[key] for one in front]) for key in ("coverage", "miou"))
    chart = line_chart(
        [Line("ours", x, y)],
        title="mIoU of seeds over their coverage",
        x_label="labelled pixels in %",
    )
    return (
        "<h3>Thresholds of seeds</h3><table><thead><tr><th></th><th>Foreground, background</th>"
        f"<th>mIoU of labelled pixels</th><th>Labelled pixels in %</th></tr></thead><tbody>{rows}"
        f'</tbody></table><p class="lead">On held-out images. Chosen: the highest mIoU that labels '
        f"at least {100 * found['min_coverage']:g}% of the choosing images.</p>{chart}"
    )


def _walk(found: WalkChoice) -> str:
    """The background score of the random walk."""
    rows = "".join(
        f"<tr><th>{title}</th><td>{score['background']:g}</td><td><b>{100 * score['miou']:.1f}</b>"
        "</td></tr>"
        for title, score in (("Chosen", found["held_out"]), ("Published", found["published"]))
    )
    best = found["choosing"]
    x, y = np.array(found["thresholds"]), 100 * np.array(found["curve"])
    mark = Mark("ours", best["background"], 100 * best["miou"], f"{100 * best['miou']:.1f}")
    chart = line_chart(
        [Line("ours", x, y)],
        title="mIoU of masks over the background score",
        x_label="background score",
        marks=[mark],
        from_zero=True,
    )
    bounds = "changes of colour" if found["irn"] is None else escape(found["irn"])
    return (
        "<h3>Background score of the random walk</h3><table><thead><tr><th></th><th>Score</th>"
        f'<th>mIoU</th></tr></thead><tbody>{rows}</tbody></table><p class="lead">On held-out '
        f"images; boundaries: {bounds}. The curve is of the choosing images.</p>{chart}"
    )
