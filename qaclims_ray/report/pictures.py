"""Pictures of a report: image, ground truth and CAMs side by side."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image as pil

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.tables import look_up, read_table
from qaclims_ray.storage.files import read_json
from qaclims_ray.types import BACKGROUND, SCHEMAS, CamRow, Image, ImageRow

COLOUR_MAP = "inferno"
"""Perceptually uniform: equal steps of a CAM look equal."""
CAM_NAMES = {"baseline_cams": "Baseline CAM", "cams": "QA-CLIMS CAM"}
"""What the CAMs of each artifact are called in pictures."""
_SCORES = {"baseline_cams": "baseline_scores", "cams": "scores"}
_SIDE = 240
"""Long side of a picture in pixels."""
_HEAT_WEIGHT = 0.62
"""Of the colours of a CAM over the grey image."""


class Panel(NamedTuple):
    """One image and its pictures, by what they show."""

    name: str
    classes: tuple[str, ...]
    pictures: dict[str, Image]


def panels(experiment: Experiment, num_images: int) -> list[Panel]:
    """Pictures of some images, chosen evenly by name so that together they show all classes.

    Args:
        experiment: A run with the artifact `images`; CAMs are shown where it has them.
        num_images: How many at most.
    """
    images = artifact(experiment, "images")
    class_names: list[str] = images.require()["facts"]["class_names"]
    names = choose_images(experiment, num_images)
    cams = {
        name: (_rows(found, names), _outline_at(experiment, name))
        for name in CAM_NAMES
        if _is_made(found := artifact(experiment, name))
    }
    limit = experiment.data.max_pixels
    shown: list[Panel] = []
    for name, row in _rows(images, names).items():
        own = {key: (rows.get(name), threshold) for key, (rows, threshold) in cams.items()}
        classes = tuple(class_names[label] for label in row["labels"] or ())
        shown.append(Panel(name, classes, _pictures(row, own, limit)))
    return shown


def grid_picture(experiment: Experiment, num_images: int = 8) -> bytes:
    """One PNG of the panels: a column per image; below it its ground truth and its CAMs."""
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
    """Names of images of a run, as `choose` chooses."""
    table = read_table(artifact(experiment, "images"), ["name", "labels"])
    return choose(table["name"].to_pylist(), table["labels"].to_pylist(), num_images)


def choose(
    names: Sequence[str], labels: Sequence[Sequence[int] | None], num_images: int
) -> list[str]:
    """Names that are evenly spaced, those first that bring a class not seen before; sorted."""
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


def thumbnails(experiment: Experiment, names: Sequence[str]) -> dict[str, Image]:
    """The images called `names`, at the size of a picture."""
    limit = experiment.data.max_pixels
    rows = look_up(artifact(experiment, "images"), names, ["name", "image"]).to_pylist()
    return {row["name"]: _fit(decode(row["image"], max_pixels=limit)) for row in rows}


def data_uri(picture: Image) -> str:
    """The picture inside a URL, as a JPEG."""
    out = io.BytesIO()
    pil.fromarray(picture).save(out, format="JPEG", quality=86, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def picture_grid(shown: Sequence[Panel]) -> str:
    """The panels as HTML."""
    num_pictures = max((len(panel.pictures) for panel in shown), default=1)
    colours = (to_hex(colour) for colour in colormaps[COLOUR_MAP](np.linspace(0, 1, 9)))
    return (
        '<p class="lead">CAM of the strongest class, from 0 <i class="scale" style="background:'
        f'linear-gradient(90deg,{",".join(colours)})"></i> to 1. White line: the background '
        "threshold, which is the best one where the CAMs are scored.</p>"
        f'<div class="panels" style="--pictures:{num_pictures}">'
        f"{''.join(_figures(panel) for panel in shown)}</div>"
    )


def overlay(image: Image, cam: Float[np.ndarray, "H W"], threshold: float) -> Image:
    """The image in grey below the colours of a CAM in [0, 1], white where it passes `threshold`."""
    grey = image.mean(axis=2, keepdims=True)
    heat = 255 * colormaps[COLOUR_MAP](cam)[..., :3]
    mixed = (1 - _HEAT_WEIGHT) * grey + _HEAT_WEIGHT * heat
    mixed[_outline(cam > threshold)] = 255
    return mixed.round().astype(np.uint8)


def _figures(panel: Panel) -> str:
    figures = "".join(
        f'<figure><img src="{data_uri(picture)}" alt="{title}" loading="lazy">'
        f"<figcaption>{title}</figcaption></figure>"
        for title, picture in panel.pictures.items()
    )
    heading = f"{escape(', '.join(panel.classes))} <small>{escape(panel.name)}</small>"
    return f'<div class="panel"><h3>{heading}</h3>{figures}</div>'


def _outline(region: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    down = np.diff(region, axis=0, prepend=region[:1])
    return down | np.diff(region, axis=1, prepend=region[:, :1])


def _pictures(
    row: ImageRow, cams: Mapping[str, tuple[CamRow | None, float]], max_pixels: int
) -> dict[str, Image]:
    """The image, its ground truth, and its CAMs, each outlined at its threshold."""
    image = _fit(decode(row["image"], max_pixels=max_pixels))
    pictures = {"Image": image}
    if row["mask"] is not None:
        truth = _palette()[decode_mask(row["mask"], max_pixels=max_pixels)]
        pictures["Ground truth"] = _fit(truth, pil.Resampling.NEAREST)
    for name, (cam, threshold) in cams.items():
        if cam is not None:
            pictures[CAM_NAMES[name]] = overlay(image, _largest(cam, image.shape), threshold)
    return pictures


def _palette() -> UInt8[np.ndarray, "256 3"]:
    """VOC's colours on light grey: on VOC's black its darkest classes cannot be seen."""
    palette = voc_palette()
    palette[BACKGROUND] = 238
    return palette


def _largest(row: CamRow, shape: tuple[int, ...]) -> Float[np.ndarray, "_ _"]:
    """Value of the largest CAM in each pixel of a picture."""
    cam = full_size(row).max(axis=0, initial=0)
    height, width = shape[:2]
    return np.array(pil.fromarray(cam).resize((width, height), pil.Resampling.BILINEAR))


def _fit(
    picture: Image, filter_: pil.Resampling = pil.Resampling.BICUBIC
) -> UInt8[np.ndarray, "_ _ 3"]:
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(pil.fromarray(picture).resize(size, filter_))


def _rows(found: Artifact, names: Sequence[str]) -> dict[str, Any]:
    rows = look_up(found, names, SCHEMAS[found.name].names).to_pylist()
    return {row["name"]: row for row in rows}


def _outline_at(experiment: Experiment, name: str) -> float:
    """The best threshold of some CAMs where they are scored, else the fixed one."""
    scores = artifact(experiment, _SCORES[name])
    if not _is_made(scores):
        return experiment.evaluate.threshold
    return read_json(f"{scores.uri}/{SCORES}")["best"]["threshold"]


def _is_made(found: Artifact) -> bool:
    """Whether the artifact is complete, and of this very configuration."""
    manifest = found.manifest()
    return manifest is not None and manifest["digest"] == found.digest
