"""Show what a step gets wrong: which classes it takes for which, and its worst images."""

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.rows import Tallies, Tally
from qaclims_ray.metrics.confusion import Absent, mean_iou
from qaclims_ray.report.charts import heat_map
from qaclims_ray.report.panels import panel_html, panels
from qaclims_ray.report.render import percent, render
from qaclims_ray.report.scores import Step
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, images_of
from qaclims_ray.types import BACKGROUND

_NUM_WORST = 12
_NUM_TOLD = 5
_MAX_CLASSES = 40
"""Classes of a drawing; more would not be readable."""
_SHOWN = 0.005
"""Share from which a figure is written, as less would be 0."""


class Confusion(NamedTuple):
    """The confusion of classes of one step."""

    title: str
    drawing: Markup
    left_out: int
    """Classes that are not drawn, those of the fewest mistakes."""
    told: dict[str, list[str]]
    """The largest mistakes of each kind, in words."""


def confusion_summary(experiment: Experiment, steps: Sequence[Step]) -> Markup:
    """Show the confusion of the last CAMs and of the last label maps that are scored."""
    last = {bool(step.scores["thresholds"]): step for step in steps}
    shown = [_confusion(experiment, step) for step in last.values()]
    return render("confusion.html", confusions=shown) if shown else Markup()


def worst_images(experiment: Experiment, steps: Sequence[Step]) -> Markup:
    """Show the images of the lowest IoU of the last step that is scored, the worst first."""
    if not steps:
        return Markup()
    step, scored = steps[-1], ARTIFACTS[steps[-1].name].of
    assert scored is not None
    counted = Tallies(artifact(experiment, step.name)).named()
    found = worst(counted, _rank(step), experiment.evaluate.absent_classes)
    names = [name for _, name in found]
    drawn = panels(experiment, names, [scored], images=images_of(step.name))
    num_columns = max((len(panel.pictures) for panel in drawn), default=1)
    shown = [
        panel_html(f"IoU {percent(iou)}", " · ".join([panel.name, *panel.classes]), panel.pictures)
        for (iou, _), panel in zip(found, drawn, strict=True)
    ]
    return render("worst.html", title=step.title, panels=shown, num_columns=num_columns)


def worst(
    counted: Iterable[tuple[str, Tally]], rank: int, absent: Absent, num_images: int = _NUM_WORST
) -> list[tuple[float, str]]:
    """Return IoU and name of the worst images, the worst first; names order those of equal IoU.

    The IoU of an image is its own mIoU: over the classes that are true or predicted in it.

    Args:
        counted: Name and counts of each image.
        rank: Rank of the threshold.
        absent: How a class that is predicted but not true in the image counts.
        num_images: How many at most.
    """
    scored = ((float(mean_iou(tally.areas[rank], absent)), name) for name, tally in counted)
    # An image whose truth is 255 everywhere has no IoU.
    return nsmallest(num_images, (one for one in scored if np.isfinite(one[0])))


def mistakes(matrix: Int[np.ndarray, "K K"], names: Sequence[str]) -> dict[str, list[str]]:
    """Tell the largest mistakes in words, by their kind, as shares of the true class's pixels.

    Args:
        matrix: True classes by predicted ones, background first.
        names: Names of the classes, background included.
    """
    found = shares(matrix)
    order = np.dstack(np.unravel_index(np.argsort(-found, axis=None, kind="stable"), found.shape))
    told: dict[str, list[str]] = {"Missed": [], "Taken for another class": [], "Invented": []}
    for true, predicted in order[0].tolist():
        share = f"{percent(float(found[true, predicted]))} of {names[true]}"
        if true == predicted or found[true, predicted] < _SHOWN:
            continue
        if predicted == BACKGROUND:
            told["Missed"].append(share)
        elif true == BACKGROUND:
            told["Invented"].append(f"{share} as {names[predicted]}")
        else:
            told["Taken for another class"].append(f"{share} as {names[predicted]}")
    return {kind: words[:_NUM_TOLD] for kind, words in told.items() if words}


def shares(matrix: Int[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """Return confusions as shares of the true class's pixels; 0 for a class without any."""
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def _confusion(experiment: Experiment, step: Step) -> Confusion:
    names, rank = step.scores["class_names"], _rank(step)
    matrix = np.zeros((len(names), len(names)), np.int64)
    for tally in Tallies(artifact(experiment, step.name)):
        matrix[np.ix_(tally.classes, tally.classes)] += tally.areas[rank]
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    wrong[BACKGROUND] = wrong.max() + 1  # always drawn
    kept = np.sort(np.argsort(-wrong, kind="stable")[:_MAX_CLASSES])
    drawn, called = shares(matrix)[np.ix_(kept, kept)], [names[index] for index in kept]
    cells = {
        (i, j): (float(share), f"{100 * share:.0f}" if share >= _SHOWN else "")
        for (i, j), share in np.ndenumerate(drawn)
    }
    title = step.title
    if step.scores["thresholds"]:
        title += f", threshold {step.scores['best']['threshold']:g}"
    drawing = heat_map(called, called, cells, title=f"Confusion of classes: {title}")
    return Confusion(title, drawing, len(names) - len(kept), mistakes(matrix, names))


def _rank(step: Step) -> int:
    """Return the rank of the best threshold; label maps have one set of counts."""
    thresholds = step.scores["thresholds"]
    return thresholds.index(step.scores["best"]["threshold"]) if thresholds else 0
