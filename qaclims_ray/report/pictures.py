"""Draw images with their ground truth, CAMs and label maps, side by side.

What each kind of artifact looks like is one entry of `DRAWINGS`.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image as pil

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import MAX_PIXELS
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.images.transforms import decode, decode_mask, rescale, resize
from qaclims_ray.report.render import render
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, schema_of, scores_of
from qaclims_ray.run.tables import look_up, read_table
from qaclims_ray.storage.files import read_json
from qaclims_ray.types import BACKGROUND, IGNORE, CamRow, Image, LabelMap

_COLOUR_MAP = "inferno"
"""Perceptually uniform: equal steps of a CAM look equal."""
_SIDE = 240
"""Long side of a picture in pixels."""
_HEAT_WEIGHT = 0.62
"""Of the colours of a CAM over the grey image."""


class Drawing(NamedTuple):
    """How the rows of a kind of artifact become pictures."""

    picture: Callable[[Image, Any, float], Image]
    """Image, the row about it, and a background threshold to a picture of the image's size."""
    label_map: Callable[[Any, float], LabelMap | None]
    """Row and background threshold to the classes of its pixels."""


class Column(NamedTuple):
    """One artifact beside the images."""

    title: str
    rows: Mapping[str, Any]
    """By the name of the image."""
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
        names: Of the images.
    """
    return {
        name: Column(
            ARTIFACTS[name].title,
            rows_of(experiment, name, names),
            _threshold(experiment, name),
            DRAWINGS[ARTIFACTS[name].kind],
        )
        for name in artifacts
    }


def rows_of(experiment: Experiment, name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the rows of an artifact about some images, by the name of the image."""
    rows = look_up(artifact(experiment, name), names, schema_of(name).names).to_pylist()
    return {row["name"]: row for row in rows}


def panels(experiment: Experiment, num_images: int) -> list[Panel]:
    """Draw some images, chosen evenly by name so that together they show all classes.

    Args:
        experiment: A run with the artifact `images`; others are shown where they are complete.
        num_images: How many at most.
    """
    class_names: list[str] = artifact(experiment, "images").require()["facts"]["class_names"]
    names = choose_images(experiment, num_images)
    shown = [name for name in drawn_artifacts() if _is_made(experiment, name)]
    columns, limit = columns_of(experiment, shown, names), experiment.data.max_pixels
    found: list[Panel] = []
    for name, row in rows_of(experiment, "images", names).items():
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
        colours=[to_hex(colour) for colour in colormaps[_COLOUR_MAP](np.linspace(0, 1, 9))],
        panels=[
            panel_html(", ".join(panel.classes), panel.name, panel.pictures, num_columns)
            for panel in shown
        ],
    )


def panel_html(heading: str, note: str, pictures: Mapping[str, Image], num_columns: int) -> Markup:
    """Show pictures side by side, in columns of which some may stay empty."""
    urls = {title: data_uri(picture) for title, picture in pictures.items()}
    return render("panel.html", heading=heading, note=note, pictures=urls, num_columns=num_columns)


def grid_picture(experiment: Experiment, num_images: int = 8) -> bytes:
    """Draw one PNG of panels: a column per image; below it its ground truth, CAMs and so on."""
    shown = panels(experiment, num_images)
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


def choose_images(experiment: Experiment, num_images: int) -> list[str]:
    """Return names of images of a run, chosen as `choose` does."""
    table = read_table(artifact(experiment, "images"), ["name", "labels"])
    return choose(table["name"].to_pylist(), table["labels"].to_pylist(), num_images)


def choose(
    names: Sequence[str], labels: Sequence[Sequence[int] | None], num_images: int
) -> list[str]:
    """Return evenly spaced names, those first that bring a class not seen before; sorted."""
    step = max(1, len(names) // num_images)
    order = sorted(range(len(names)), key=lambda i: (i % step, i))
    seen: set[int] = set()
    chosen: dict[int, None] = {}
    for i in order:
        if not seen.issuperset(labels[i] or ()):
            seen.update(labels[i] or ())
            chosen[i] = None
    chosen.update(dict.fromkeys(order))
    return sorted(names[i] for i in list(chosen)[:num_images])


def data_uri(picture: Image) -> str:
    """Return the picture inside a URL, as a JPEG."""
    out = io.BytesIO()
    pil.fromarray(picture).save(out, format="JPEG", quality=86, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def fit(picture: Image) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return the picture with a long side of 240 pixels."""
    return rescale(picture, _SIDE / max(picture.shape[:2]))


def overlay(image: Image, cam: Float[np.ndarray, "H W"], threshold: float) -> Image:
    """Lay a CAM in [0, 1] over the image in grey; a white line is where it passes a threshold."""
    grey = image.mean(axis=2, keepdims=True)
    heat = 255 * colormaps[_COLOUR_MAP](cam)[..., :3]
    mixed = (1 - _HEAT_WEIGHT) * grey + _HEAT_WEIGHT * heat
    mixed[_outline(cam > threshold)] = 255
    return mixed.round().astype(np.uint8)


def _outline(region: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    down = np.diff(region, axis=0, prepend=region[:1])
    return down | np.diff(region, axis=1, prepend=region[:, :1])


def cam_picture(image: Image, row: CamRow, threshold: float) -> Image:
    """Draw the largest CAM of each pixel over the image, outlined at the threshold."""
    cam = full_size(row).max(axis=0, initial=0)
    height, width = image.shape[:2]
    cam = np.array(pil.fromarray(cam).resize((width, height), pil.Resampling.BILINEAR))
    return overlay(image, cam, threshold)


def cam_label_map(row: CamRow, threshold: float) -> LabelMap | None:
    """Return the class of the largest CAM where it passes the threshold; background wins a tie.

    Returns:
        The label map at the size of the image; None where the image shows a class beyond the 254
        that a label map can hold.
    """
    if max(row["classes"], default=0) + 1 >= IGNORE:
        return None
    cams: Float[np.ndarray, "N H W"] = full_size(row)
    values = np.array([BACKGROUND, *(label + 1 for label in row["classes"])], np.uint8)
    scores = np.concatenate([np.full((1, *cams.shape[1:]), threshold, np.float32), cams])
    return values[scores.argmax(axis=0)]


def label_map_picture(image: Image, png: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Draw an encoded label map in VOC's colours, at the size of the image.

    The background is light grey: on VOC's black its darkest classes cannot be seen.
    """
    palette = voc_palette()
    palette[BACKGROUND] = 238
    coloured = palette[decode_mask(png, max_pixels=max_pixels)]
    height, width = image.shape[:2]
    return resize(coloured, height, width, pil.Resampling.NEAREST)


DRAWINGS: dict[str, Drawing] = {"cams": Drawing(cam_picture, cam_label_map)}
"""Kinds of artifacts that are shown beside the images."""


def _threshold(experiment: Experiment, name: str) -> float:
    scores = scores_of(name)
    if scores is None or not _is_made(experiment, scores):
        return experiment.evaluate.threshold
    return read_json(f"{artifact(experiment, scores).uri}/{SCORES}")["best"]["threshold"]


def _is_made(experiment: Experiment, name: str) -> bool:
    """Return whether an artifact is complete, and of this very configuration."""
    found = artifact(experiment, name)
    manifest = found.manifest()
    return manifest is not None and found.matches(manifest)
