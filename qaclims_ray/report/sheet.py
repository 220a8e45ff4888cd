"""A contact sheet: some images with their labels, masks and CAMs, to see that the data are right.

<run>/show/sheet.html            the page, one file
<run>/show/cams/masks/*.png      where CAMs are asked for: label maps with a palette, and
<run>/show/cams/overlays/*.png   CAMs over their images, in full size
"""

import io
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256
from html import escape
from importlib.resources import files
from itertools import cycle
from string import Template
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import to_hex
from PIL import Image as pil

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode, decode_mask, encode_mask
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.report.pictures import CAM_NAMES, choose_images, data_uri, overlay
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import look_up, read_parquet, read_table
from qaclims_ray.storage.files import read_json, write_bytes
from qaclims_ray.storage.paths import absolute
from qaclims_ray.types import BACKGROUND, IGNORE, SCHEMAS, CamRow, Image, ImageRow, LabelMap

NUM_IMAGES = 24
"""Images of a sheet of which nothing else is said."""
_SCORES = {"cams": "scores", "baseline_cams": "baseline_scores"}
_SIDE = 320
"""Long side of a picture in pixels."""
_MASK_WEIGHT = 0.55
"""Of a mask's colours over the image."""
_LONGEST = 255
"""Bytes of the name of a file."""


class Cam(NamedTuple):
    """One image's CAMs as pictures of its size."""

    overlay: Image
    label_map: LabelMap | None
    """The class of the largest CAM where it passes the threshold; None where the image shows a
    class beyond the 254 that a label map can hold."""


def run(
    experiment: Experiment,
    *,
    names: Sequence[str] = (),
    num_images: int | None = None,
    shard: int | None = None,
    cams: Sequence[str] = (),
) -> str:
    """Write the sheet and return one line that says where it lies.

    Args:
        experiment: A run with the artifact `images`.
        names: Images to show; none: those of `shard`, else some that show all classes.
        num_images: Show so many of them; None: all of a shard, else `NUM_IMAGES`.
        shard: Number of a Parquet file of `images`.
        cams: Artifacts whose CAMs are shown too and written as PNGs: `cams`, `baseline_cams`.

    Raises:
        ValueError: no such image or shard, no image wanted, or an artifact is not complete.
    """
    if num_images is not None and num_images < 1:
        raise ValueError(f"{num_images} images are no sheet: 1 or more (--num)")
    images = artifact(experiment, "images")
    classes = class_names(images)
    chosen = _choose(experiment, images, names, num_images, shard)
    folder = f"{absolute(experiment.run)}/show"
    rows = {name: _rows(artifact(experiment, name), chosen) for name in cams}
    thresholds = {name: _threshold(experiment, name) for name in cams}
    panels: list[str] = []
    for row in look_up(images, chosen, SCHEMAS["images"].names).to_pylist():
        image = decode(row["image"], max_pixels=experiment.data.max_pixels)
        shown = {
            name: show_cam(image, rows[name][row["name"]], thresholds[name])
            for name in cams
            if row["name"] in rows[name]
        }
        for name, cam in shown.items():
            _write_pngs(f"{folder}/{name}", row["name"], cam)
        panels.append(panel(row, image, classes, shown))
    uri = f"{folder}/sheet.html"
    write_bytes(uri, page(experiment.name, panels, classes).encode())
    return f"show: {len(panels)} images · {uri}"


def panel(row: ImageRow, image: Image, classes: Sequence[str], cams: Mapping[str, Cam]) -> str:
    """One image as HTML: as a viewer shows it, its mask over it, its CAMs, its labels by name."""
    pictures = {"Image": image}
    notes = [f"{row['width']} x {row['height']}"]
    if row["mask"] is None:
        notes.append("no mask")
    else:
        label_map = decode_mask(row["mask"])
        pictures["Mask"] = mask_overlay(image, label_map)
        notes += _disagreements(row["labels"] or (), label_map, classes)
    pictures |= {CAM_NAMES[name]: cam.overlay for name, cam in cams.items()}
    figures = "".join(
        f'<figure><img src="{data_uri(_shrink(picture))}" alt="{title}">'
        f"<figcaption>{title}</figcaption></figure>"
        for title, picture in pictures.items()
    )
    labels = ", ".join(classes[label] for label in row["labels"] or ())
    labels = labels or ("labels unknown" if row["labels"] is None else "no label")
    small = f"<small>{escape(' · '.join([row['name'], *notes]))}</small>"
    style = f"--pictures:{len(pictures)}"
    return f'<div class="panel" style="{style}"><h3>{escape(labels)} {small}</h3>{figures}</div>'


def page(title: str, panels: Sequence[str], classes: Sequence[str]) -> str:
    """The whole page: a legend of the classes' colours, then the panels."""
    html = files("qaclims_ray.report").joinpath("page.html").read_text(encoding="utf-8")
    colours = [to_hex(colour / 255) for colour in voc_palette()[BACKGROUND + 1 : IGNORE]]
    # More classes than label maps can hold take the colours once more.
    legend = "".join(
        f'<span class="key" style="color:{colour}">{escape(name)}</span>'
        for name, colour in zip(classes, cycle(colours), strict=False)
    )
    body = (
        f'<header><h1>{escape(title)}</h1><p class="meta">{len(panels)} images with their labels; '
        "colours of the masks, white: counted by no score</p></header>"
        f'<div class="legend">{legend}</div>'
        f'<section><div class="panels">{"".join(panels)}</div></section>'
    )
    return Template(html).substitute(title=escape(title), body=body)


def mask_overlay(image: Image, label_map: LabelMap) -> UInt8[np.ndarray, "H W 3"]:
    """The image with the classes of a label map in their colours; `IGNORE` is white."""
    palette = voc_palette()
    palette[IGNORE] = 255
    weight = _MASK_WEIGHT * (label_map != BACKGROUND)[..., None]
    mixed = (1 - weight) * image + weight * palette[label_map]
    return mixed.round().astype(np.uint8)


def show_cam(image: Image, row: CamRow, threshold: float) -> Cam:
    """CAMs of an image as pictures of its size.

    Args:
        image: Pixels.
        row: Its CAMs, in [0, 1].
        threshold: Background score; background wins a tie.
    """
    cams: Float[np.ndarray, "N H W"] = full_size(row)
    strongest = cams.max(axis=0, initial=0)
    if max(row["classes"], default=0) + 1 >= IGNORE:
        return Cam(overlay(image, strongest, threshold), None)
    values = np.array([BACKGROUND, *(label + 1 for label in row["classes"])], np.uint8)
    scores = np.concatenate([np.full((1, *cams.shape[1:]), threshold, np.float32), cams])
    return Cam(overlay(image, strongest, threshold), values[scores.argmax(axis=0)])


def _choose(
    experiment: Experiment,
    images: Artifact,
    names: Sequence[str],
    num_images: int | None,
    shard: int | None,
) -> list[str]:
    """Names of the images to show."""
    if names:
        known = read_table(images, ["name"])["name"].to_pylist()
        for name in set(names).difference(known):
            close = ", ".join(get_close_matches(name, known)) or ", ".join(known[:3])
            raise ValueError(f"{images.uri} has no image {name!r}; it has, for example, {close}")
        return list(names)
    if shard is None:
        return choose_images(experiment, num_images or NUM_IMAGES)
    shards = images.shards()
    if not 0 <= shard < len(shards):
        raise ValueError(f"shard {shard} of {images.uri}: legal are 0 to {len(shards) - 1}")
    return read_parquet(shards[shard], ["name"])["name"].to_pylist()[:num_images]


def _disagreements(labels: Sequence[int], label_map: LabelMap, classes: Sequence[str]) -> list[str]:
    """Where labels and mask differ, which is seldom meant."""
    shown = {int(value) - 1 for value in np.unique(label_map) if value not in (BACKGROUND, IGNORE)}
    differences = {"in the mask only": shown - {*labels}, "not in the mask": {*labels} - shown}
    return [
        f"{', '.join(classes[label] for label in sorted(which))} {where}"
        for where, which in differences.items()
        if which
    ]


def _rows(found: Artifact, names: Sequence[str]) -> dict[str, Any]:
    found.require()
    rows = look_up(found, names, SCHEMAS[found.name].names).to_pylist()
    return {row["name"]: row for row in rows}


def _threshold(experiment: Experiment, name: str) -> float:
    """The best threshold of some CAMs where they are scored, else the fixed one."""
    scores = artifact(experiment, _SCORES[name])
    if not scores.is_complete():
        return experiment.evaluate.threshold
    return read_json(f"{scores.uri}/{SCORES}")["best"]["threshold"]


def _write_pngs(folder: str, name: str, cam: Cam) -> None:
    file = png_name(name)
    if cam.label_map is not None:
        write_bytes(f"{folder}/masks/{file}", encode_mask(cam.label_map))
    write_bytes(f"{folder}/overlays/{file}", _png(cam.overlay))


def png_name(name: str) -> str:
    """`<name>.png`; of a name too long for a file its beginning and a digest."""
    whole = name.encode()
    if len(whole) + len(".png") <= _LONGEST:
        return f"{name}.png"
    end = f"-{sha256(whole).hexdigest()[:16]}.png"
    return f"{whole[: _LONGEST - len(end)].decode(errors='ignore')}{end}"


def _png(picture: Image) -> bytes:
    out = io.BytesIO()
    pil.fromarray(picture).save(out, format="PNG")
    return out.getvalue()


def _shrink(picture: Image) -> UInt8[np.ndarray, "_ _ 3"]:
    """The picture with a long side of at most `_SIDE` pixels."""
    copy = pil.fromarray(picture)
    copy.thumbnail((_SIDE, _SIDE))
    return np.array(copy)
