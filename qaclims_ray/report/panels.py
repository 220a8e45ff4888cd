"""Draw images with their ground truth, CAMs and label maps, side by side."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.score import read_scores
from qaclims_ray.images.decode import decode
from qaclims_ray.report.pictures import (
    COLOUR_MAP,
    DRAWINGS,
    Drawing,
    data_uri,
    fit,
    label_map_picture,
)
from qaclims_ray.report.render import render
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import ARTIFACTS, data_of, images_of, schema_of, scores_of, title_of
from qaclims_ray.run.tables import batches_of, look_up
from qaclims_ray.types import Image


class Column(NamedTuple):
    """One artifact beside the images."""

    title: str
    rows: Mapping[str, Any]
    """Row of each image, by its name."""
    threshold: float
    """Background score: the best one where the artifact is scored, else `evaluate.threshold`."""
    drawing: Drawing


class Panel(NamedTuple):
    """One image and its pictures, by their titles."""

    name: str
    classes: tuple[str, ...]
    pictures: dict[str, Image]


def columns_of(
    experiment: Experiment, artifacts: Sequence[str], names: Sequence[str]
) -> dict[str, Column]:
    """Read what artifacts hold about some images.

    Args:
        experiment: The run.
        artifacts: Complete artifacts of kinds in `DRAWINGS`.
        names: Names of the images.
    """
    return {
        name: Column(
            title_of(experiment, name),
            rows_of(experiment, name, names),
            best_threshold(experiment, name),
            DRAWINGS[ARTIFACTS[name].kind],
        )
        for name in artifacts
    }


def rows_of(experiment: Experiment, name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the rows of an artifact about some images, by the name of the image."""
    rows = look_up(artifact(experiment, name), names, schema_of(name).names).to_pylist()
    return {row["name"]: row for row in rows}


def panels_of_all(experiment: Experiment, num_images: int, images: str = "images") -> list[Panel]:
    """Draw all that a run has about some images, chosen as `choose` does, at most so many."""
    own = [name for name in drawn_artifacts() if images_of(name) == images]
    shown = [name for name in own if _is_made(experiment, name)]
    return panels(
        experiment, choose_images(artifact(experiment, images), num_images), shown, images
    )


def panels(
    experiment: Experiment, names: Sequence[str], shown: Sequence[str], images: str = "images"
) -> list[Panel]:
    """Draw some images, their ground truth and what artifacts hold about them.

    Args:
        experiment: The run.
        names: Names of the images, in the order of the panels.
        shown: Complete artifacts of kinds in `DRAWINGS`.
        images: Artifact of the images.
    """
    class_names: list[str] = artifact(experiment, images).fact("class_names")
    columns, limit = columns_of(experiment, shown, names), data_of(experiment, images).max_pixels
    found: list[Panel] = []
    image_rows = rows_of(experiment, images, names)
    for name in names:
        row = image_rows[name]
        image = fit(decode(row["image"], max_pixels=limit))
        pictures = {"Image": image}
        if row["mask"] is not None:
            pictures["Ground truth"] = label_map_picture(image, row["mask"], limit)
        for title, rows, threshold, drawing in columns.values():
            if name in rows:
                pictures[title] = drawing.picture(image, rows[name], threshold)
        classes = tuple(class_names[label] for label in row["labels"] or ())
        found.append(Panel(name, classes, pictures))
    return found


def drawn_artifacts() -> list[str]:
    """Return the names of all artifacts that can be drawn, in the order in which they are made."""
    return [name for name, spec in ARTIFACTS.items() if spec.kind in DRAWINGS]


def panel_grid(shown: Sequence[Panel]) -> Markup:
    """Show panels below a scale of the colours of CAMs."""
    num_columns = max((len(panel.pictures) for panel in shown), default=1)
    return render(
        "panels.html",
        num_columns=num_columns,
        colours=[to_hex(colour) for colour in colormaps[COLOUR_MAP](np.linspace(0, 1, 9))],
        panels=[
            panel_html(", ".join(panel.classes), panel.name, panel.pictures) for panel in shown
        ],
    )


def panel_html(heading: str, note: str, pictures: Mapping[str, Image]) -> Markup:
    """Show pictures side by side, in as many columns as the panels around have at most."""
    urls = {title: data_uri(picture) for title, picture in pictures.items()}
    return render("panel.html", heading=heading, note=note, pictures=urls)


def grid_picture(experiment: Experiment, num_images: int = 8) -> bytes:
    """Draw one PNG of panels: a column per image; below it its ground truth, CAMs and so on."""
    shown = panels_of_all(experiment, num_images)
    titles = list(dict.fromkeys(title for panel in shown for title in panel.pictures))
    figure = Figure(figsize=(1.5 * len(shown) + 0.4, 1.5 * len(titles) + 0.3), layout="constrained")
    axes = figure.subplots(len(titles), len(shown), squeeze=False)
    for column, panel in enumerate(shown):
        axes[0, column].set_title(", ".join(panel.classes), fontsize=10)
        for row, title in enumerate(titles):
            axes[row, column].set(xticks=[], yticks=[], frame_on=False)
            if title in panel.pictures:
                axes[row, column].imshow(panel.pictures[title])
    for row, title in enumerate(titles):
        axes[row, 0].set_ylabel(title, fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=90)
    return out.getvalue()


def choose_images(images: Artifact, num_images: int) -> list[str]:
    """Return names of images of a complete artifact, chosen as `choose` does."""
    rows = (
        (row["name"], row["labels"])
        for batch in batches_of(images, ["name", "labels"])
        for row in batch.to_pylist()
    )
    return choose(rows, images.require()["rows"], num_images)


def choose(
    images: Iterable[tuple[str, Sequence[int] | None]], num: int, num_images: int
) -> list[str]:
    """Return evenly spaced names, those first that bring a class not seen before; sorted.

    Args:
        images: Names and labels of `num` images, gone through once: none but candidates stays.
        num: How many there are.
        num_images: How many are wanted.
    """
    step = max(1, num // num_images)
    spaced: list[str] = []
    first_of: dict[int, tuple[int, int, str]] = {}
    for place, (name, labels) in enumerate(images):
        rank = (place % step, place, name)
        if place % step == 0:
            spaced.append(name)
        for label in labels or ():
            first_of[label] = min(first_of.get(label, rank), rank)
    bringing = [name for _, _, name in sorted(first_of.values())]
    return sorted([*dict.fromkeys([*bringing, *spaced])][:num_images])


def best_threshold(experiment: Experiment, name: str) -> float:
    """Return the best background threshold of an artifact, else `evaluate.threshold`."""
    scores = scores_of(name)
    if scores is None or not _is_made(experiment, scores):
        return experiment.evaluate.threshold
    return float(read_scores(artifact(experiment, scores))["best"]["threshold"])


def _is_made(experiment: Experiment, name: str) -> bool:
    """Return whether an artifact is complete, and of this very configuration."""
    found = artifact(experiment, name)
    manifest = found.manifest()
    return manifest is not None and found.matches(manifest)
