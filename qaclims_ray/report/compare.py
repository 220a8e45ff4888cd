"""Compare runs: one table, and one HTML page in the look of the report.

What differs in their configurations, their scores on the same images with intervals of the paired
differences, curves, and the images of which they differ most.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.report.comparison import (
    Comparison,
    changes,
    check_classes,
    comparisons,
    labels_of,
    notes_of,
)
from qaclims_ray.report.paired import Paired
from qaclims_ray.report.panels import panel_html, panels
from qaclims_ray.report.render import render
from qaclims_ray.report.scores import threshold_chart
from qaclims_ray.run.graph import ARTIFACTS, images_of, title_of
from qaclims_ray.run.recorded import recorded
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.storage.paths import absolute

PAGE = "compare.html"


def run(runs: Sequence[str], to: str | None = None) -> str:
    """Compare runs with the first one; write the page and return the table.

    Args:
        runs: Folders or URLs, two at least.
        to: File or URL of the page; None: `compare.html` in the first run.

    Raises:
        ValueError: there is no such run, they have other classes, or no scores of the same images.
    """
    if len(runs) < 2:
        raise ValueError("give two runs or more, such as: qaclims compare runs/a runs/b")
    experiments = dict(zip(labels_of(runs), map(recorded, runs), strict=True))
    check_classes(experiments)
    changed = changes(experiments)
    found, left_out = comparisons(experiments)
    uri = absolute(to) if to else f"{absolute(runs[0])}/{PAGE}"
    write_bytes(uri, _page(experiments, changed, found, left_out).encode())
    return "\n\n".join([*_text(changed, found, left_out), f"compare: {len(runs)} runs · {uri}"])


def _text(
    changed: Mapping[str, Sequence[Any]], found: Sequence[Comparison], left_out: Sequence[str]
) -> list[str]:
    """Write what differs, and the scores with intervals of the paired differences."""
    values = [f"  {key}: {' | '.join(map(str, own))}" for key, own in changed.items()]
    labels = [step.title for step in found[0].steps]
    head = f"{'mIoU in %, 95 % intervals':<34}" + "".join(f"{label:>28}" for label in labels)
    rows = [
        f"{f'{one.title}, {at}' if at else one.title:<34}"
        + "".join(f"{_cell(one.paired, side, rank):>28}" for side in range(len(labels)))
        for one in found
        for rank, at in enumerate(one.at)
    ]
    told = [f"configurations differ in, {' | '.join(labels)}:", *values] if values else [_EQUAL]
    notes = [note for one in found for note in notes_of(one)]
    return [
        "\n".join(told),
        "\n".join([head, *rows]),
        *(["\n".join([*notes, *left_out])] if notes or left_out else []),
    ]


_EQUAL = "configurations are equal"


def _cell(paired: Paired, side: int, rank: int) -> str:
    miou = f"{100 * paired.miou[side, rank]:.1f}"
    if not side:
        return miou
    low, high = 100 * paired.bounds[:, side, rank]
    return f"{miou} {100 * paired.difference[side, rank]:+.1f} [{low:+.1f}, {high:+.1f}]"


def _page(
    experiments: Mapping[str, Experiment],
    changed: Mapping[str, Sequence[Any]],
    found: Sequence[Comparison],
    left_out: Sequence[str],
) -> str:
    return render(
        "compare.html",
        title=" · ".join(experiments),
        labels=list(experiments),
        changed=changed,
        comparisons=found,
        notes=[*(note for one in found for note in notes_of(one)), *left_out],
        curves={
            one.title: threshold_chart(one.steps)
            for one in found
            if one.steps[0].scores["thresholds"]
        },
        last=found[-1],
        panels=_panels(experiments, found[-1]),
        num_columns=2 + len(experiments),
    )


def _panels(experiments: Mapping[str, Experiment], one: Comparison) -> list[Markup]:
    """Draw the images of which the runs differ most, with what each run has of them."""
    scored = ARTIFACTS[one.name].of
    assert scored is not None
    names = [image.name for image in one.paired.apart]
    drawn = [
        panels(experiment, names, [scored], images_of(one.name))
        for experiment in experiments.values()
    ]
    shown: list[Markup] = []
    for image, sides in zip(one.paired.apart, zip(*drawn, strict=True), strict=True):
        first = {k: v for k, v in sides[0].pictures.items() if k in ("Image", "Ground truth")}
        own = {
            f"{label}: {100 * iou:.1f}": side.pictures[title_of(experiment, scored)]
            for (label, experiment), iou, side in zip(
                experiments.items(), image.ious, sides, strict=True
            )
        }
        shown.append(panel_html(", ".join(sides[0].classes), image.name, {**first, **own}))
    return shown
