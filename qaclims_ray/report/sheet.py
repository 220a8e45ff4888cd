"""A contact sheet: some images with their labels, masks and CAMs, to see that the data are right.

<folder>/sheet.html            the page, one file
<folder>/cams/masks/*.png      where CAMs are asked for: label maps with a palette, and
<folder>/cams/overlays/*.png   CAMs over their images, in full size
"""

import io
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import cycle, islice

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from matplotlib.colors import to_hex
from PIL import Image as pil

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.decode import decode, decode_mask, encode_mask
from qaclims_ray.images.palette import voc_palette
from qaclims_ray.images.transforms import NEAREST, rescale, resize
from qaclims_ray.report.panels import (
    Column,
    choose_images,
    columns_of,
    drawn_artifacts,
    panel_html,
    rows_of,
)
from qaclims_ray.report.pictures import mask_overlay
from qaclims_ray.report.render import render
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import data_of, images_of
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lineage import check_lineage
from qaclims_ray.run.tables import NameIndex, names_of
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.storage.parquet import open_parquet, read_parquet
from qaclims_ray.storage.paths import absolute, png_name
from qaclims_ray.types import BACKGROUND, IGNORE, SCHEMAS, Image, ImageRow, LabelMap

NUM_IMAGES = 24
"""Images of a sheet unless their number is given."""
_COMPARED = 1000
"""Names, beside those of the nearest shard, that an unknown one is compared with."""
_SIDE = 320
"""Long side of a picture in pixels."""


def run(
    experiment: Experiment,
    *,
    names: Sequence[str] = (),
    num_images: int | None = None,
    shard: int | None = None,
    drawn: Sequence[str] = (),
    folder: str | None = None,
) -> str:
    """Write the sheet and return one line that says where it lies.

    Args:
        experiment: A run with the artifact `images`.
        names: Images to show; none: those of `shard`, else some that show all classes.
        num_images: Show so many of them; None: all of a shard, else `NUM_IMAGES`.
        shard: Number of a Parquet file of `images`.
        drawn: Artifacts that are drawn beside the images and written as PNGs, such as `cams`. CAMs
            of an image with several classes are drawn class by class as well.
        folder: Folder or URL of the sheet and the PNGs; None: `<run>/show`.

    Raises:
        ValueError: no such image or shard, no image wanted, an artifact that cannot be drawn or is
            not complete, or stale.
    """
    if illegal := [name for name in drawn if name not in drawn_artifacts()]:
        legal = ", ".join(drawn_artifacts())
        raise ValueError(f"{', '.join(illegal)} cannot be drawn (--of): legal are {legal}")
    if num_images is not None and num_images < 1:
        raise ValueError(f"{num_images} images are no sheet: 1 or more (--num)")
    about = {images_of(name) for name in drawn} or {"images"}
    if len(about) > 1:
        raise ValueError(f"{', '.join(drawn)} are of different images: draw them one by one (--of)")
    (images_name,) = about
    images, limit = artifact(experiment, images_name), data_of(experiment, images_name).max_pixels
    classes = class_names(artifact(experiment, "images"))
    chosen = _choose(images, names, num_images, shard)
    for name in drawn:
        check_lineage(experiment, name)
        artifact(experiment, name).require()
    columns = columns_of(experiment, drawn, chosen)
    folder = f"{absolute(experiment.run)}/show" if folder is None else absolute(folder)
    panels: list[Markup] = []
    num_pictures = 2
    for row in rows_of(experiment, images_name, chosen).values():
        image = decode(row["image"], max_pixels=limit)
        pictures = _draw(image, row["name"], columns, classes, folder)
        num_pictures = max(num_pictures, 2 + len(pictures))
        panels.append(panel(row, image, classes, pictures))
    uri = f"{folder}/sheet.html"
    write_bytes(uri, page(experiment.name, panels, classes, num_pictures).encode())
    return f"show: {len(panels)} images · {uri}"


def panel(
    row: ImageRow, image: Image, classes: Sequence[str], drawn: Mapping[str, Image]
) -> Markup:
    """Show one image: as a viewer shows it, its mask over it, further pictures, its labels by name.

    Args:
        row: The image.
        image: Its pixels.
        classes: Names in the order of their indices.
        drawn: Further pictures by their titles.
    """
    pictures = {"Image": image}
    notes = [row["name"], f"{row['width']} x {row['height']}"]
    if row["mask"] is None:
        notes.append("no mask")
    else:
        label_map = decode_mask(row["mask"])
        height, width = image.shape[:2]
        pictures["Mask"] = mask_overlay(image, resize(label_map, height, width, NEAREST))
        notes += _disagreements(row["labels"] or (), label_map, classes)
    pictures |= drawn
    labels = ", ".join(classes[label] for label in row["labels"] or ())
    labels = labels or ("labels unknown" if row["labels"] is None else "no label")
    scale = min(1.0, _SIDE / max(image.shape))
    shown = {title: rescale(picture, scale) for title, picture in pictures.items()}
    return panel_html(labels, " · ".join(notes), shown)


def page(title: str, panels: Sequence[Markup], classes: Sequence[str], num_columns: int) -> str:
    """Lay out the whole page: a legend of the classes' colours, then the panels.

    Args:
        title: Heading of the page.
        panels: One for each image.
        classes: Names in the order of their indices.
        num_columns: Pictures of an image, those of the widest panel.
    """
    colours = [to_hex(colour / 255) for colour in voc_palette()[BACKGROUND + 1 : IGNORE]]
    return render(
        "sheet.html",
        title=title,
        panels=panels,
        # More classes than label maps can hold take the colours once more.
        classes=list(zip(classes, cycle(colours), strict=False)),
        num_columns=num_columns,
    )


def _choose(
    images: Artifact,
    names: Sequence[str],
    num_images: int | None,
    shard: int | None,
) -> list[str]:
    """Return the names of the images to show."""
    if names:
        _check_there(images, names)
        return list(names)
    if shard is None:
        return choose_images(images, num_images or NUM_IMAGES)
    shards = images.shards()
    if not 0 <= shard < len(shards):
        raise ValueError(f"shard {shard} of {images.uri}: legal are 0 to {len(shards) - 1}")
    name = pa.schema([SCHEMAS["images"].field("name")])
    return read_parquet(shards[shard], name)["name"].to_pylist()[:num_images]


def _check_there(images: Artifact, names: Sequence[str]) -> None:
    index = NameIndex(images)
    known = index.look_up(names, ["name"])["name"].to_pylist()
    for name in set(names).difference(known):
        shards = index.shards_between(name, name) or images.shards()[:1]
        nearby = open_parquet(shards, SCHEMAS["images"]).to_table(columns=["name"])
        there = [*islice(names_of(images), _COMPARED), *nearby["name"].to_pylist()]
        close = ", ".join(get_close_matches(name, there)) or ", ".join(there[:3])
        raise ValueError(f"{images.uri} has no image {name!r}; it has, for example, {close}")


def _disagreements(labels: Sequence[int], label_map: LabelMap, classes: Sequence[str]) -> list[str]:
    """Say where labels and mask differ, which is seldom meant."""
    shown = {int(value) - 1 for value in np.unique(label_map) if value not in (BACKGROUND, IGNORE)}
    differences = {"in the mask only": shown - {*labels}, "not in the mask": {*labels} - shown}
    return [
        f"{', '.join(classes[label] for label in sorted(which))} {where}"
        for where, which in differences.items()
        if which
    ]


def _draw(
    image: Image,
    name: str,
    columns: Mapping[str, Column],
    classes: Sequence[str],
    folder: str,
) -> dict[str, Image]:
    """Draw what the columns hold about an image, and write it as PNGs."""
    pictures: dict[str, Image] = {}
    for key, (title, rows, threshold, drawing) in columns.items():
        if name in rows:
            pictures[title] = drawing.picture(image, rows[name], threshold)
            label_map = drawing.label_map(rows[name], threshold)
            _write_pngs(f"{folder}/{key}", name, pictures[title], label_map)
            parts = {} if drawing.by_class is None else drawing.by_class(rows[name])
            for label, part in parts.items() if len(parts) > 1 else ():
                pictures[f"{title}: {classes[label]}"] = drawing.picture(image, part, threshold)
    return pictures


def _write_pngs(folder: str, name: str, picture: Image, label_map: LabelMap | None) -> None:
    file, out = png_name(name), io.BytesIO()
    if label_map is not None:
        write_bytes(f"{folder}/masks/{file}", encode_mask(label_map))
    pil.fromarray(picture).save(out, format="PNG")
    write_bytes(f"{folder}/overlays/{file}", out.getvalue())
