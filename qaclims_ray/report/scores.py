"""Scores and losses of a report, as HTML."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import numpy as np

from qaclims_ray.evaluate.score import Scores
from qaclims_ray.report.charts import SMALL, Line, Mark, binned, line_chart
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.files import find, read_bytes

STYLES = {"baseline_scores": "baseline", "scores": "ours"}
"""Class of the style sheet of each artifact's curves."""
TITLES = {"baseline": "Baseline CAM", "ours": "QA-CLIMS"}

_Kind = Literal["best", "fixed"]
_MIOU: dict[_Kind, tuple[str, str]] = {
    "best": ("Best mIoU", "threshold chosen by the ground truth"),
    "fixed": ("mIoU, fixed threshold", "threshold chosen beforehand"),
}
_FIGURES = {
    "mean_boundary_iou": (
        "Boundary IoU",
        "the same for the bands along boundaries, 2% of the image's diagonal wide",
    ),
    "mean_precision": ("Precision", "mean over the object classes"),
    "mean_recall": ("Recall", "mean over the object classes"),
    "false_foreground": (
        "False foreground",
        "share of the pixels taken for an object that are background; less is better",
    ),
}
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
    bodies = "".join(_score_rows(scores, kind, words) for kind, words in _MIOU.items())
    notes = "".join(f"<p>{note}</p>" for note in dict.fromkeys(map(_conditions, scores.values())))
    return (
        f'<table class="scores"><thead><tr><th></th>{heads}{difference}</tr></thead>'
        f'{bodies}</table><div class="note">{notes}</div>'
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
    best = {style: score["best"] for style, score in scores.items()}
    rows = "".join(
        f'<div class="class"><span>{escape(name)}</span><div>'
        + "".join(
            _bar(style, figures["iou"][index], figures["intervals"]["iou"][index])
            for style, figures in best.items()
        )
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


def _score_rows(scores: Mapping[str, Scores], kind: _Kind, words: tuple[str, str]) -> str:
    rows = {"miou": words, **_FIGURES}
    return f"<tbody>{''.join(_score_row(scores, kind, *row) for row in rows.items())}</tbody>"


def _score_row(
    scores: Mapping[str, Scores], kind: _Kind, figure: str, words: tuple[str, str]
) -> str:
    at = {style: score[kind] for style, score in scores.items()}
    cells = "".join(
        f'<td class="{style}"><b>{_percent(figures[figure])}</b>'
        f"<small>{_interval(figures['intervals'][figure])}, threshold {figures['threshold']:g}"
        "</small></td>"
        for style, figures in at.items()
    )
    values = [figures[figure] for figures in at.values()]
    difference = f"<td>{_points(*values)}</td>" if len(values) == 2 else ""
    return f"<tr><th>{words[0]}<small>{words[1]}</small></th>{cells}{difference}</tr>"


def _conditions(score: Scores) -> str:
    """What the figures were computed on, in one paragraph."""
    settings = score["settings"]
    split = f", split {settings['split']}" if settings["split"] else ""
    unreadable = settings.get("unreadable", 0)
    scales = ", ".join(f"{scale:g}" for scale in settings["scales"])
    facts = [
        f"{score['num_images']:,} images with ground truth of {settings['data']}{split}"
        + (f", {unreadable:,} could not be read" if unreadable else ""),
        f"CAMs of the classes that the labels name, at scales {scales}"
        + (", each with its mirror image" if settings["flips"] else ""),
        f"activation {settings['activation']}",
        f"resolution {settings['resolution']}, stride {settings['stride']}",
        f"refinement {settings['refinement']}",
        f"CRF {'on' if settings['crf'] else 'off'}",
        f"mIoU over {len(score['class_names'])} classes, background included",
        "pixels marked 255 in the ground truth are ignored",
        "intervals hold 95 % of 1,000 bootstrap samples of the images at the same threshold",
    ]
    return escape("; ".join(facts) + ".")


def _bar(style: str, value: float | None, bounds: Sequence[float | None]) -> str:
    width = 0 if value is None else 100 * value
    return (
        f'<div class="bar {style}" title="{_interval(bounds)}"><i style="width:{width:.1f}%"></i>'
        f"<b>{_percent(value, unit='')}</b></div>"
    )


def _percent(value: float | None, unit: str = "%") -> str:
    return "n/a" if value is None else f"{100 * value:.1f}{unit}"


def _interval(bounds: Sequence[float | None]) -> str:
    return " to ".join(_percent(bound) for bound in bounds)


def _points(baseline: float | None, ours: float | None) -> str:
    if baseline is None or ours is None:
        return "n/a"
    return f"{100 * (ours - baseline):+.1f} <small>points</small>"
