"""Show a search: which trial won, and how each value changed the score."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired

import numpy as np
from markupsafe import Markup
from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.report.charts import Line, Mark, chart
from qaclims_ray.report.render import percent, render
from qaclims_ray.report.trials import (
    curves,
    metric_of,
    overrides_line,
    parallel_coordinates,
    scatter,
    score_of,
)
from qaclims_ray.search.results import DEFAULT, FINALISTS, Finalist, Found
from qaclims_ray.search.rows import TrialRow, read_trials
from qaclims_ray.search.space import Space
from qaclims_ray.search.thresholds import MASKS, SEEDS, MaskChoice, SeedChoice
from qaclims_ray.storage.paths import absolute
from qaclims_ray.storage.records import read_record

_CURVES = 20
"""Trials whose curves are drawn, the best ones."""


class _Kind(TypedDict):
    kind: NotRequired[str]


class FinalistRow(NamedTuple):
    """A finalist; scores are mIoU in percent, mean and standard deviation over seeds."""

    title: str
    values: str
    style: str
    held_out: str
    choosing: str
    threshold: float


def search_summary(experiment: Experiment) -> Markup:
    """Show what `<run>/search` holds; nothing where there is none."""
    folder = f"{absolute(experiment.run)}/search"
    found = read_record(f"{folder}/{FINALISTS}", Found)
    masks = read_record(f"{folder}/{MASKS}", MaskChoice)
    kind = read_record(f"{folder}/{SEEDS}", _Kind)
    # An earlier version's seeds, those of no refinement, are not shown.
    seeds = read_record(f"{folder}/{SEEDS}", SeedChoice) if kind and "kind" in kind else None
    if found is None and seeds is None and masks is None:
        return Markup()
    return render(
        "search.html",
        finalists=found and finalist_rows(found["finalists"], found["winner"]),
        random_seeds=found and found["finalists"][0]["seeds"],
        trials=found and _trials(folder, found),
        seeds=seeds,
        seed_chart=seeds and _seed_chart(seeds),
        masks=masks,
        mask_chart=masks and _mask_chart(masks),
    )


def finalist_rows(found: Sequence[Finalist], winner: str) -> list[FinalistRow]:
    """Return a row per finalist, the best on the choosing images first; the winner stands out."""
    rows: list[FinalistRow] = []
    for one in sorted(found, key=lambda one: -float(np.mean(one["choosing"]))):
        name = "Own values of the configuration" if one["name"] == DEFAULT else one["name"]
        diverged = [f"diverged with seed {seed}" for seed in one["diverged"]]
        is_winner = one["name"] == winner
        rows.append(
            FinalistRow(
                f"{name}, the winner" if is_winner else name,
                ", ".join(filter(None, [overrides_line(one["overrides"]), *diverged])),
                "ours" if is_winner else "baseline",
                _spread(one["held_out"]),
                _spread(one["choosing"]),
                one["threshold"],
            )
        )
    return rows


def _spread(values: Sequence[float]) -> str:
    spread = np.std(values, ddof=len(values) > 1)
    return f"{100 * np.mean(values):.1f} ± {100 * spread:.1f}"


def _trials(folder: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers of trials, drawings of the scored ones, and the failed ones."""
    space: Space = {
        key: {kind: tuple(values) for kind, values in domain.items()}
        for key, domain in found["space"].items()
    }
    rows = read_trials(folder, space)
    scored = sorted(
        (row for row in rows if row["score"] is not None),
        key=lambda row: (row["trial"] == found["winner"], score_of(row)),
    )
    words = {"complete": "trained to the end", "stopped": "stopped early", "failed": "failed"}
    counts = Counter(row["status"] for row in rows)
    return {
        "counts": ", ".join(f"{counts[status]} {word}" for status, word in words.items()),
        "drawings": _drawings(scored, space, found) if scored else None,
        "failed": [
            (row["trial"], overrides_line(row["overrides"]), (row["error"] or "").strip())
            for row in rows
            if row["status"] == "failed"
        ],
    }


def _drawings(rows: Sequence[TrialRow], space: Space, found: Mapping[str, Any]) -> dict[str, Any]:
    metric = metric_of(rows, found["metrics"][0])
    shares: Mapping[str, float] | None = found["importance"]
    return {
        "parallel": parallel_coordinates(rows, space, metric),
        "scatters": [
            (
                key,
                f"importance {100 * shares[key]:.0f}%" if shares else "",
                scatter(rows, key, domain, metric),
            )
            for key, domain in space.items()
        ],
        "curves": curves(rows[-_CURVES:], found["thresholds"]),
    }


def _seed_chart(found: SeedChoice) -> Markup:
    front = sorted(found["front"], key=lambda one: one["coverage"])
    x, y = (np.array([100 * one[key] for one in front]) for key in ("coverage", "miou"))
    return chart(
        [Line("ours", x, y)],
        title="mIoU of seeds over their coverage",
        x_label="labelled pixels in %",
    )


def _mask_chart(found: MaskChoice) -> Markup:
    best = found["choosing"]
    return chart(
        [Line("ours", np.array(found["thresholds"]), 100 * np.array(found["curve"]))],
        title="mIoU of masks over the background score",
        x_label="background score",
        marks=[Mark("ours", best["background"], 100 * best["miou"], percent(best["miou"], ""))],
        from_zero=True,
    )
