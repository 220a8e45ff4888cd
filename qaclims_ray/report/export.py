"""Label maps and CAM regions of a run as files for other tools.

<to>/<image>.png      png: `BACKGROUND`, class index + 1, or `IGNORE` for each pixel
<to>/<image>.txt      yolo: a line for each part of each class, and <to>/data.yaml
<to>/<image>.json     labelme: a shape for each part of each class, and of `IGNORE`
<to>/classes.txt      the class names, one a line, in the order of their indices, and
<to>/files.csv        which file of the data set each is of
<to>/<artifact>.json  coco: a category for each class, and for each image and class one annotation
                      with run-length codes; pixels of background and of `IGNORE` have none
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import IO, Any, Literal, NamedTuple, cast

import pyarrow as pa
import pyarrow.dataset as pads
import yaml

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.coco import coco_regions
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.label_maps import check_num_classes, label_map_row, row_label_map
from qaclims_ray.images.labelme import labelme_json
from qaclims_ray.images.yolo import yolo_lines
from qaclims_ray.report.panels import best_threshold
from qaclims_ray.report.pictures import cam_label_map
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.file_names import FileNames
from qaclims_ray.run.graph import ARTIFACTS, images_of, schema_of
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lineage import check_lineage
from qaclims_ray.run.progress import progress_bar
from qaclims_ray.run.tables import batches_of, dataset
from qaclims_ray.storage.csv import csv_lines
from qaclims_ray.storage.files import staged_open, write_bytes
from qaclims_ray.storage.filesystem import in_threads
from qaclims_ray.storage.paths import absolute, file_name
from qaclims_ray.types import CamRow, LabelMapRow

Format = Literal["png", "coco", "yolo", "labelme"]
SUFFIXES: dict[Format, str] = {"png": ".png", "yolo": ".txt", "labelme": ".json"}
"""Suffix of the files of formats that have one for each image."""
Advance = Callable[[int], object]
"""Is told of so many images that are done."""

_BATCH = 64
"""Rows that are in memory at a time, as those of the next batches are."""
_FILES = pa.schema([("image", pa.string()), ("mask", pa.string())])


class LabelMaps(NamedTuple):
    """The label maps of an artifact, those of CAMs at a threshold."""

    made: Artifact
    """Complete; rows without label map are left out."""
    threshold: float | None
    """Background score of CAMs; None: the rows hold label maps."""

    @property
    def wanted(self) -> pads.Expression | None:
        """Rows that have a label map; None: all."""
        return pads.field("label_map").is_valid() if self.threshold is None else None

    def batches(self, *columns: str) -> Iterator[list[LabelMapRow]]:
        """Yield the rows in their order, some at a time, with these columns only."""
        of_cams = self.threshold is not None and "label_map" in columns
        names = schema_of(self.made.name).names if of_cams else columns
        for batch in batches_of(self.made, names, self.wanted, _BATCH):
            found = batch.to_pylist()
            yield cast(list[LabelMapRow], list(map(self._region_row, found)) if of_cams else found)

    def _region_row(self, row: CamRow) -> LabelMapRow:
        assert self.threshold is not None
        label_map = cam_label_map(row, self.threshold)
        assert label_map is not None
        return label_map_row(row["name"], label_map)


def run(
    experiment: Experiment,
    name: str,
    to: str,
    *,
    fmt: Format,
    suffix: str,
    threshold: float | None = None,
) -> str:
    """Export the label maps of an artifact, or the regions of CAMs; return the summary line.

    Images without label map, as nobody knows their labels, are left out. Files of the same names
    are overwritten.

    Args:
        experiment: The run.
        name: An artifact of label maps or CAMs, such as `masks`.
        to: Folder or URL.
        fmt: Which files are written.
        suffix: What names of image files have behind the name of an image, such as `.jpg`, in runs
            of earlier versions, which do not know the files' own names.
        threshold: Background score of CAMs; None: the best one where they are scored, else
            `evaluate.threshold`.

    Raises:
        ValueError: the artifact is not complete, or stale; it is none of CAMs and there is a
            threshold; the storage refuses.
    """
    check_lineage(experiment, name)
    manifest = artifact(experiment, name).require()
    classes = class_names(artifact(experiment, "images"))
    check_num_classes(len(classes))
    label_maps = _label_maps(experiment, name, threshold)
    num_known = dataset(label_maps.made).count_rows(filter=label_maps.wanted)
    start, to = time.monotonic(), absolute(to)
    images = artifact(experiment, images_of(name))
    with progress_bar(f"export {name}", num_known) as bar:
        if fmt == "coco":
            to = f"{to}/{name}.json"
            write_coco(label_maps, classes, to, bar.update, images=images, suffix=suffix)
        else:
            write_files(label_maps, classes, to, bar.update, fmt=fmt, images=images, suffix=suffix)
    seconds = time.monotonic() - start
    lost = ", undecided pixels are background there" if fmt == "yolo" else ""
    at = "" if label_maps.threshold is None else f" at threshold {label_maps.threshold:g}"
    return (
        f"export_masks: {num_known:,} {name}{at} as {fmt}, {manifest['rows'] - num_known:,} "
        f"without label map left out, {manifest['errors']:,} errors of {name}{lost}, "
        f"{seconds:.1f} s, {num_known / max(seconds, 0.1):.1f} images/s · {to}"
    )


def _label_maps(experiment: Experiment, name: str, threshold: float | None) -> LabelMaps:
    made = artifact(experiment, name)
    if ARTIFACTS[name].kind == "cams":
        best = best_threshold(experiment, name) if threshold is None else threshold
        return LabelMaps(made, best)
    if threshold is not None:
        raise ValueError(f"--threshold is for CAMs: the pixels of {name} have their classes")
    return LabelMaps(made, None)


def write_files(
    label_maps: LabelMaps,
    classes: Sequence[str],
    folder: str,
    advance: Advance,
    *,
    fmt: Format,
    images: Artifact,
    suffix: str,
) -> None:
    """Write a file for each row that has a label map, and the names of classes and files.

    Raises:
        ValueError: the name of an image would lead out of the folder; the storage refuses.
    """
    ending = SUFFIXES[fmt]

    def write(named: tuple[LabelMapRow, str]) -> None:
        row, image = named
        content = _encoded(row, fmt, classes, image)
        write_bytes(f"{folder}/{file_name(row['name'], ending)}", content)

    write_bytes(f"{folder}/classes.txt", "".join(f"{name}\n" for name in classes).encode())
    if fmt == "yolo":
        about = {"names": dict(enumerate(classes))}
        written = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        write_bytes(f"{folder}/data.yaml", written.encode())
    if FileNames(images).known:
        with staged_open(f"{folder}/files.csv") as file:
            for lines in _lines_of_files(label_maps, images, ending, suffix):
                file.write(lines)
    files = FileNames(images)
    for rows in label_maps.batches("name", "label_map"):
        in_threads(write, zip(rows, _files_of(rows, files, suffix), strict=True))
        advance(len(rows))


def _lines_of_files(
    label_maps: LabelMaps, images: Artifact, ending: str, suffix: str
) -> Iterator[bytes]:
    """Yield a table of the files of images and of their label maps, part by part."""
    yield csv_lines(_FILES.empty_table())
    files = FileNames(images)
    for rows in label_maps.batches("name"):
        masks = [file_name(row["name"], ending) for row in rows]
        table = pa.table([_files_of(rows, files, suffix), masks], schema=_FILES)
        yield csv_lines(table, header=False)


def _files_of(rows: Sequence[LabelMapRow], files: FileNames, suffix: str) -> list[str]:
    return [files.of(row["name"]) or f"{row['name']}{suffix}" for row in rows]


def _encoded(row: LabelMapRow, fmt: Format, classes: Sequence[str], image: str) -> bytes:
    assert row["label_map"] is not None
    if fmt == "png":
        return row["label_map"]
    label_map = decode_mask(row["label_map"])
    if fmt == "yolo":
        return yolo_lines(label_map).encode()
    return labelme_json(label_map, classes, image).encode()


def write_coco(
    label_maps: LabelMaps,
    classes: Sequence[str],
    uri: str,
    advance: Advance,
    *,
    images: Artifact,
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
        _write_list(file, "images", _images(label_maps, images, suffix))
        file.write(b",\n")
        _write_list(file, "annotations", _annotations(label_maps, advance))
        file.write(b"}\n")


def _images(label_maps: LabelMaps, images: Artifact, suffix: str) -> Iterator[dict[str, Any]]:
    numbers, files = count(1), FileNames(images)
    for rows in label_maps.batches("name", "height", "width"):
        for row, file in zip(rows, _files_of(rows, files, suffix), strict=True):
            size = {"height": row["height"], "width": row["width"]}
            yield {"id": next(numbers), "file_name": file, **size}


def _annotations(label_maps: LabelMaps, advance: Advance) -> Iterator[dict[str, Any]]:
    numbers, images = count(1), count(1)
    for rows in label_maps.batches("label_map"):
        for row, image in zip(rows, images, strict=False):
            label_map = row_label_map(row)
            assert label_map is not None
            for region in coco_regions(label_map):
                yield {"id": next(numbers), "image_id": image, **region}
        advance(len(rows))


def _write_list(file: IO[bytes], key: str, elements: Iterable[dict[str, Any]]) -> None:
    file.write(f'"{key}": ['.encode())
    for number, element in enumerate(elements):
        file.write((",\n" if number else "\n").encode() + json.dumps(element).encode())
    file.write(b"]")
