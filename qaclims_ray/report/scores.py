"""Show scores: a row, a curve and a bar for each artifact of scores that a run has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from markupsafe import Markup
from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.score import Scores, read_scores
from qaclims_ray.evaluate.settings import NOTHING
from qaclims_ray.evaluate.text import USED
from qaclims_ray.report.charts import STYLES, Line, Mark, chart
from qaclims_ray.report.render import percent, render
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, of_kind, title_of

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
_ABSENT = {
    "zero": "where a class that is predicted but true nowhere counts as 0",
    "skip": "without those that are true nowhere",
}
_TOLD = {
    *("data", "split", "names", "unreadable", "scored", "scales", "flips", "stride"),
    *("unsure", "decided", "absent classes", *USED),
}
"""Settings of scores that the table or sentences of their own tell."""


class Step(NamedTuple):
    """The scores of one step of the pipeline."""

    name: str
    """Artifact of scores."""
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
            name,
            style_of(name),
            title_of(experiment, name),
            read_scores(artifact(experiment, name)),
        )
        for name in complete
        if ARTIFACTS[name].kind == "scores"
    ]


def style_of(name: str) -> str:
    """Return the colour of an artifact: each of a kind has its own, whatever else is complete."""
    return STYLES[of_kind(ARTIFACTS[name].kind).index(name) % len(STYLES)]


class Ranking(TypedDict):
    """How well the classifier ranks images by each class."""

    num_images: int
    of_class: dict[str, float | None]
    """Average precision; None where none of the images shows the class."""


class Row(NamedTuple):
    """A row of the table."""

    step: Step
    gain: float | None
    """mIoU less that of the row above; None where other pixels are counted."""
    used: list[str]
    """What was used to make what is scored."""


def score_summary(steps: Sequence[Step], ranking: Ranking | None = None) -> Markup:
    """Show a table, curves over the threshold, and bars for the classes; nothing without steps.

    Args:
        steps: Scores.
        ranking: Average precision of the classifier, shown beside the IoU of each class.
    """
    if not steps:
        return Markup()
    with_curve = [step for step in steps if step.scores["thresholds"]]
    stated = {step.title: _conditions(step.scores) for step in steps}
    common = [
        fact for fact in stated[steps[0].title] if all(fact in one for one in stated.values())
    ]
    own = {title: [fact for fact in one if fact not in common] for title, one in stated.items()}
    before = [None, *steps[:-1]]
    return render(
        "scores.html",
        rows=[
            Row(step, above and gain(above, step), used(step))
            for above, step in zip(before, steps, strict=True)
        ],
        figures=_FIGURES,
        common=common,
        own={title: facts for title, facts in own.items() if facts},
        ranking=ranking,
        curves=threshold_chart(with_curve) if with_curve else "",
    )


def gain(above: Step, step: Step) -> float | None:
    """Return the difference of two steps' mIoU; None where they don't count the same pixels."""
    before, after = (cast(float | None, one.scores["best"]["miou"]) for one in (above, step))
    if before is None or after is None or _pixels(above) != _pixels(step):
        return None
    return after - before


def _pixels(step: Step) -> tuple[object, ...]:
    """Return what says which pixels are counted."""
    settings = step.scores["settings"]
    decided = settings.get("decided", 1) if settings.get("unsure") == "ignore" else 1
    same = [settings.get(key) for key in ("data", "split", "names", "unreadable")]
    return (step.scores["num_images"], decided, _is_held_out(step.name), *same)


def _is_held_out(name: str) -> bool:
    """Return whether scores are about other images than those of `images`, for training."""
    return "images" not in ARTIFACTS[name].inputs


def used(step: Step) -> list[str]:
    """Say in a few words each what was used to make what is scored, and on which images."""
    settings = step.scores["settings"]
    told = [f"{key}: {settings[key]}" for key in USED if settings.get(key, NOTHING) != NOTHING]
    if settings.get("names", "all") != "all":
        return [*told, f"images of {settings['names']}"]
    return [*told, "images held out" if _is_held_out(step.name) else "images of the training"]


def threshold_chart(steps: Sequence[Step]) -> Markup:
    """Draw mIoU over the threshold, a curve in its colour for each of some scores of CAMs."""
    lines = [
        Line(style, np.array(scores["thresholds"]), 100 * np.array(scores["miou"]))
        for _, style, _, scores in steps
    ]
    marks = [
        Mark(style, best["threshold"], 100 * best["miou"], percent(best["miou"]))
        for style, best in ((style, scores["best"]) for _, style, _, scores in steps)
    ]
    return chart(
        lines,
        title="mIoU over the threshold",
        x_label="background threshold",
        marks=marks,
        guide=steps[0].scores["fixed"]["threshold"],
        from_zero=True,
    )


def _conditions(scores: Scores) -> list[str]:
    """Say what the figures were computed on."""
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
        cams = "CAMs of the classes that the labels name, " if scores["thresholds"] else ""
        facts.append(f"{cams}at scales {scales}{mirrored}")
    facts += [_setting(settings, key) for key in settings if key not in _TOLD]
    facts += [
        f"mIoU over {len(scores['class_names'])} classes, background included, "
        + _ABSENT[settings.get("absent classes", "zero")],
        "pixels marked 255 in the ground truth are ignored",
        "intervals hold 95 % of 1,000 bootstrap samples of the images at the same threshold",
    ]
    return facts


def _setting(settings: Mapping[str, Any], key: str) -> str:
    value = settings[key]
    words = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
    name = "CRF" if key == "crf" else key.replace("_", " ")
    stride = f", stride {settings['stride']}" if key == "resolution" else ""
    return f"{name} {words}{stride}"
