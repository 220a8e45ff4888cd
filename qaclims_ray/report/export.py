"""Label maps of a run as files for other tools: paletted PNGs, or one JSON file in COCO's format.

<to>/<image>.png      png: `BACKGROUND`, class index + 1, or `IGNORE` for each pixel, and
<to>/classes.txt      the class names, one a line, in the order of their indices, and
<to>/files.csv        which file of the data set each is of
<to>/<artifact>.json  coco: a category for each class, and for each image and class one annotation
                      with run-length codes; pixels of background and of `IGNORE` have none
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import IO, Any, Literal, cast

import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.coco import coco_regions
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.file_names import read_file_names
from qaclims_ray.run.graph import images_of
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lineage import check_lineage
from qaclims_ray.run.progress import progress_bar
from qaclims_ray.run.tables import dataset
from qaclims_ray.storage.csv import csv_lines
from qaclims_ray.storage.files import staged_open, write_bytes
from qaclims_ray.storage.filesystem import in_threads
from qaclims_ray.storage.paths import absolute, png_name
from qaclims_ray.types import LabelMapRow

Format = Literal["png", "coco"]
Advance = Callable[[int], object]
"""Is told of so many images that are done."""

_BATCH = 64
"""Rows that are in memory at a time, as those of the next two batches are."""


def run(experiment: Experiment, name: str, to: str, *, fmt: Format, suffix: str) -> str:
    """Export the label maps of an artifact and return the summary line.

    Images without label map, as nobody knows their labels, are left out. Files of the same names
    are overwritten.

    Args:
        experiment: The run.
        name: An artifact of label maps, such as `masks`.
        to: Folder or URL.
        fmt: Which files are written.
        suffix: What COCO's `file_name` has behind the name of an image, such as `.jpg`, in runs of
            earlier versions, which do not know the files' own names.

    Raises:
        ValueError: the artifact is not complete, or stale; the storage refuses.
    """
    check_lineage(experiment, name)
    source, classes = artifact(experiment, name), class_names(artifact(experiment, "images"))
    manifest, start, to = source.require(), time.monotonic(), absolute(to)
    known = dataset(source).filter(pads.field("label_map").is_valid())
    num_known = known.count_rows()
    files = read_file_names(artifact(experiment, images_of(name)))
    with progress_bar(f"export {name}", num_known) as bar:
        if fmt == "png":
            write_pngs(known, classes, to, bar.update, files=files)
        else:
            to = f"{to}/{name}.json"
            write_coco(known, classes, to, bar.update, files=files, suffix=suffix)
    seconds = time.monotonic() - start
    return (
        f"export_masks: {num_known:,} {name} as {fmt}, {manifest['rows'] - num_known:,} without "
        f"label map left out, {manifest['errors']:,} errors of {name}, {seconds:.1f} s, "
        f"{num_known / max(seconds, 0.1):.1f} images/s · {to}"
    )


def write_pngs(
    label_maps: pads.Dataset,
    classes: Sequence[str],
    folder: str,
    advance: Advance,
    *,
    files: Mapping[str, str],
) -> None:
    """Write a paletted PNG for each row that has a label map, and the names of classes and files.

    Raises:
        ValueError: the name of an image would lead out of the folder; the storage refuses.
    """

    def write(row: LabelMapRow) -> None:
        assert row["label_map"] is not None
        write_bytes(f"{folder}/{png_name(row['name'])}", row["label_map"])

    write_bytes(f"{folder}/classes.txt", "".join(f"{name}\n" for name in classes).encode())
    if files:
        write_bytes(f"{folder}/files.csv", _csv(label_maps, files))
    for rows in _batches(label_maps, "name", "label_map"):
        in_threads(write, rows)
        advance(len(rows))


def _csv(label_maps: pads.Dataset, files: Mapping[str, str]) -> bytes:
    names: list[str] = label_maps.to_table(columns=["name"])["name"].to_pylist()
    columns = {"image": [files[name] for name in names], "mask": [png_name(one) for one in names]}
    return csv_lines(pa.table(columns))


def write_coco(
    label_maps: pads.Dataset,
    classes: Sequence[str],
    uri: str,
    advance: Advance,
    *,
    files: Mapping[str, str],
    suffix: str,
) -> None:
    """Write one COCO file, element by element; images are numbered in the order of their rows.

    Category numbers are the values of label maps: class index + 1.
    """
    categories = ({"id": number, "name": name} for number, name in enumerate(classes, 1))
    with staged_open(uri) as file:
        file.write(b"{")
        _write_list(file, "categories", categories)
        file.write(b",\n")
        _write_list(file, "images", _images(label_maps, files, suffix))
        file.write(b",\n")
        _write_list(file, "annotations", _annotations(label_maps, advance))
        file.write(b"}\n")


def _images(
    label_maps: pads.Dataset, files: Mapping[str, str], suffix: str
) -> Iterator[dict[str, Any]]:
    numbers = count(1)
    for rows in _batches(label_maps, "name", "height", "width"):
        for row in rows:
            file = files.get(row["name"], f"{row['name']}{suffix}")
            size = {"height": row["height"], "width": row["width"]}
            yield {"id": next(numbers), "file_name": file, **size}


def _annotations(label_maps: pads.Dataset, advance: Advance) -> Iterator[dict[str, Any]]:
    numbers, images = count(1), count(1)
    for rows in _batches(label_maps, "label_map"):
        for row, image in zip(rows, images, strict=False):
            label_map = row_label_map(row)
            assert label_map is not None
            for region in coco_regions(label_map):
                yield {"id": next(numbers), "image_id": image, **region}
        advance(len(rows))


def _batches(label_maps: pads.Dataset, *columns: str) -> Iterator[list[LabelMapRow]]:
    """Yield the rows in their order, some at a time, with these columns only."""
    batches = label_maps.to_batches(
        columns=list(columns), batch_size=_BATCH, batch_readahead=2, fragment_readahead=1
    )
    for batch in batches:
        yield cast(list[LabelMapRow], batch.to_pylist())


def _write_list(file: IO[bytes], key: str, elements: Iterable[dict[str, Any]]) -> None:
    file.write(f'"{key}": ['.encode())
    for number, element in enumerate(elements):
        file.write((",\n" if number else "\n").encode() + json.dumps(element).encode())
    file.write(b"]")
