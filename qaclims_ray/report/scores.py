"""Show scores: a column, a curve and a bar for each artifact of scores that a run has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.score import SCORES, Scores
from qaclims_ray.report.charts import STYLES, Line, Mark, chart
from qaclims_ray.report.render import percent, render
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, of_kind, title_of
from qaclims_ray.storage.files import read_json

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
_BEST = {"miou": ("Best mIoU", "threshold chosen by the ground truth"), **_FIGURES}
_FIXED = {"miou": ("mIoU, fixed threshold", "threshold chosen beforehand"), **_FIGURES}
_MAPS = {"miou": ("mIoU", "mean over the classes"), **_FIGURES}
_TOLD = {"data", "split", "names", "unreadable", "scored", "scales", "flips", "stride"}
"""Settings of scores that sentences of their own tell."""


class Step(NamedTuple):
    """The scores of one step of the pipeline."""

    style: str
    """One of `STYLES`."""
    title: str
    scores: Scores


def steps_of(experiment: Experiment, complete: Iterable[str]) -> list[Step]:
    """Read the scores of a run.

    Args:
        experiment: The run.
        complete: Names of its complete artifacts, those of other kinds included.
    """
    return [
        Step(
            style_of(name),
            title_of(experiment, name),
            read_json(f"{artifact(experiment, name).uri}/{SCORES}"),
        )
        for name in complete
        if ARTIFACTS[name].kind == "scores"
    ]


def style_of(name: str) -> str:
    """Return the colour of an artifact: each of a kind has its own, whatever else is complete."""
    return STYLES[of_kind(ARTIFACTS[name].kind).index(name) % len(STYLES)]


def score_summary(steps: Sequence[Step]) -> Markup:
    """Show a table, curves over the threshold, and bars for the classes; at least one step."""
    with_curve = [step for step in steps if step.scores["thresholds"]]
    notes: dict[str, list[str]] = {}
    for step in steps:
        notes.setdefault(_conditions(step.scores), []).append(step.title)
    return render(
        "scores.html",
        steps=steps,
        kinds={"best": _BEST, "fixed": _FIXED} if with_curve else {"best": _MAPS},
        notes=notes,
        curves=_threshold_chart(with_curve) if with_curve else "",
    )


def _threshold_chart(steps: Sequence[Step]) -> Markup:
    lines = [
        Line(style, np.array(scores["thresholds"]), 100 * np.array(scores["miou"]))
        for style, _, scores in steps
    ]
    marks = [
        Mark(style, best["threshold"], 100 * best["miou"], percent(best["miou"]))
        for style, best in ((style, scores["best"]) for style, _, scores in steps)
    ]
    return chart(
        lines,
        title="mIoU over the threshold",
        x_label="background threshold",
        marks=marks,
        guide=steps[0].scores["fixed"]["threshold"],
        from_zero=True,
    )


def _conditions(scores: Scores) -> str:
    """Say in one sentence what the figures were computed on."""
    settings = scores["settings"]
    split = f", split {settings['split']}" if settings["split"] else ""
    unreadable = settings.get("unreadable", 0)
    facts = [
        f"{scores['num_images']:,} images with ground truth of {settings['data']}{split}"
        + (f", {unreadable:,} could not be read" if unreadable else "")
    ]
    if "scales" in settings:
        scales = ", ".join(f"{scale:g}" for scale in settings["scales"])
        mirrored = ", each with its mirror image" if settings["flips"] else ""
        facts.append(f"CAMs of the classes that the labels name, at scales {scales}{mirrored}")
    facts += [_setting(settings, key) for key in settings if key not in _TOLD]
    facts += [
        f"mIoU over {len(scores['class_names'])} classes, background included",
        "pixels marked 255 in the ground truth are ignored",
        "intervals hold 95 % of 1,000 bootstrap samples of the images at the same threshold",
    ]
    return "; ".join(facts) + "."


def _setting(settings: Mapping[str, Any], key: str) -> str:
    value = settings[key]
    words = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
    name = "CRF" if key == "crf" else key.replace("_", " ")
    stride = f", stride {settings['stride']}" if key == "resolution" else ""
    return f"{name} {words}{stride}"
