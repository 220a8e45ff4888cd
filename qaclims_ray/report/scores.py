"""Scores and losses of a report, as HTML."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from qaclims_ray.artifacts import Artifact
from qaclims_ray.evaluate.score import Scores
from qaclims_ray.report.charts import SMALL, Line, Mark, binned, line_chart
from qaclims_ray.storage import find, read_bytes

STYLES = {"baseline_scores": "baseline", "scores": "ours"}
"""Class of the style sheet of each artifact's curves."""
TITLES = {"baseline": "Baseline CAM", "ours": "QA-CLIMS"}

_Figure = Callable[[Scores], float]
_FIGURES: tuple[tuple[str, str, _Figure], ...] = (
    ("Best mIoU", "threshold chosen by the ground truth", lambda s: s["best"]["miou"]),
    (
        "mIoU, fixed threshold",
        "threshold chosen beforehand",
        lambda s: s["fixed"]["miou"],
    ),
    ("Precision", "mean over the object classes", lambda s: _mean(s["best"]["precision"][1:])),
    ("Recall", "mean over the object classes", lambda s: _mean(s["best"]["recall"][1:])),
    (
        "False foreground",
        "share of the pixels taken for an object that are background; less is better",
        lambda s: s["best"]["false_foreground"],
    ),
)
_TERMS = {
    "total": "Loss",
    "foreground": "Foreground contrast (FRC)",
    "background": "Background contrast (BRC)",
    "area": "Mean CAM value (REG)",
    "max_logit": "Largest logit",
    "grad_norm": "Norm of the gradient",
}


def score_table(scores: Mapping[str, Scores]) -> str:
    """The figures that matter, a column for each style in `scores` (`baseline`, `ours`)."""
    heads = "".join(f'<th class="{style}">{TITLES[style]}</th>' for style in scores)
    difference = "<th>Difference</th>" if len(scores) == 2 else ""
    rows = "".join(_score_row(scores, *figure) for figure in _FIGURES)
    notes = "".join(f"<p>{note}</p>" for note in dict.fromkeys(map(_conditions, scores.values())))
    return (
        f'<table class="scores"><thead><tr><th></th>{heads}{difference}</tr></thead>'
        f'<tbody>{rows}</tbody></table><div class="note">{notes}</div>'
    )


def threshold_chart(scores: Mapping[str, Scores]) -> str:
    """Curves of mIoU over the background threshold, the best one marked."""
    lines = [
        Line(style, np.array(score["thresholds"]), 100 * np.array(score["miou"]))
        for style, score in scores.items()
    ]
    marks = [
        Mark(style, best["threshold"], 100 * best["miou"], _percent(best["miou"]))
        for style, best in ((style, score["best"]) for style, score in scores.items())
    ]
    return line_chart(
        lines,
        title="mIoU over the threshold",
        x_label="background threshold",
        marks=marks,
        guide=next(iter(scores.values()))["fixed"]["threshold"],
        from_zero=True,
    )


def class_bars(scores: Mapping[str, Scores]) -> str:
    """IoU of each class at the best thresholds, as horizontal bars."""
    names = next(iter(scores.values()))["class_names"]
    ious = {style: score["best"]["iou"] for style, score in scores.items()}
    rows = "".join(
        f'<div class="class"><span>{escape(name)}</span><div>'
        + "".join(_bar(style, values[index]) for style, values in ious.items())
        + "</div></div>"
        for index, name in enumerate(names)
    )
    return f'<div class="bars">{rows}</div>'


def legend(styles: Sequence[str]) -> str:
    """What the colours mean."""
    items = "".join(f'<span class="key {style}">{TITLES[style]}</span>' for style in styles)
    return f'<p class="legend">{items}</p>'


def training_log(network: Artifact) -> list[dict[str, Any]]:
    """What a training logged, one row per step."""
    epochs = find(f"{network.uri}/metrics/epoch-*.jsonl")
    return [json.loads(line) for epoch in epochs for line in read_bytes(epoch).splitlines()]


def loss_charts(rows: Sequence[Mapping[str, Any]], style: str) -> str:
    """A chart for each scalar of a training's log, one row per step."""
    steps = np.array([row["step"] for row in rows], float)
    charts = [
        _figure(title, rows, binned(style, steps, np.array([row[key] for row in rows], float)))
        for key, title in _TERMS.items()
        if key in rows[0]
    ]
    return f'<div class="charts">{"".join(charts)}</div>'


def _figure(title: str, rows: Sequence[Mapping[str, Any]], line: Line) -> str:
    chart = line_chart([line], title=title, x_label=f"{len(rows):,} steps", size=SMALL)
    ends = f"{line.y[0]:.3g} → {line.y[-1]:.3g}"
    return f"<figure><figcaption>{title} <small>{ends}</small></figcaption>{chart}</figure>"


def _score_row(scores: Mapping[str, Scores], name: str, meaning: str, figure: _Figure) -> str:
    fixed = "fixed" in name
    cells = "".join(
        f'<td class="{style}"><b>{_percent(figure(score))}</b>'
        f"<small>threshold {score['fixed' if fixed else 'best']['threshold']:g}</small></td>"
        for style, score in scores.items()
    )
    values = [figure(score) for score in scores.values()]
    difference = f"<td>{_points(*values)}</td>" if len(values) == 2 else ""
    return f"<tr><th>{name}<small>{meaning}</small></th>{cells}{difference}</tr>"


def _conditions(score: Scores) -> str:
    """What the figures were computed on, in one paragraph."""
    settings = score["settings"]
    split = f", split {settings['split']}" if settings["split"] else ""
    scales = ", ".join(f"{scale:g}" for scale in settings["scales"])
    facts = [
        f"{score['num_images']:,} images with ground truth of {settings['data']}{split}",
        f"CAMs of the classes that the labels name, at scales {scales}"
        + (", each with its mirror image" if settings["flips"] else ""),
        f"activation {settings['activation']}",
        f"resolution {settings['resolution']}",
        f"refinement {settings['refinement']}",
        f"CRF {'on' if settings['crf'] else 'off'}",
        f"mIoU over {len(score['class_names'])} classes, background included",
        "pixels marked 255 in the ground truth are ignored",
    ]
    return escape("; ".join(facts) + ".")


def _bar(style: str, value: float | None) -> str:
    value = math.nan if value is None else value
    width = 0 if math.isnan(value) else 100 * value
    return (
        f'<div class="bar {style}"><i style="width:{width:.1f}%"></i>'
        f"<b>{_percent(value, unit='')}</b></div>"
    )


def _mean(values: Sequence[float | None]) -> float:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else math.nan


def _percent(value: float, unit: str = "%") -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f}{unit}"


def _points(baseline: float, ours: float) -> str:
    difference = 100 * (ours - baseline)
    return "n/a" if math.isnan(difference) else f"{difference:+.1f} <small>points</small>"
