"""Find the label maps that people and other tools made: corrections, and what is to be scored.

    <folder>/<name>.png     a label map
    <folder>/<name>.json    LabelMe
    <folder>/<name>.txt     YOLO, polygons; data.yaml or classes.txt beside them names the classes
    <file>.json             COCO, by itself or alone in a folder: all images that the file lists

`qaclims export-masks` writes these. Names are those of the run's images, or of their files, as
label tools write them that know no others: `cats__a` is cats/a.jpg, and so is cats/a.json.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple
from unicodedata import normalize

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.decode import MAX_PIXELS
from qaclims_ray.ingest.annotated import LABELME, YOLO, refer_to_file
from qaclims_ray.ingest.coco_file import CocoImage, Instance, Number, read_coco_file
from qaclims_ray.ingest.folder import CLASSES_FILE
from qaclims_ray.ingest.folder_files import stem
from qaclims_ray.ingest.label_files import is_background, nearest, spelled
from qaclims_ray.ingest.label_folders import NAMES_FILE, yolo_names
from qaclims_ray.ingest.rasterise import refer_to
from qaclims_ray.ingest.sources import check_mask, drawn_mask, where_of
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.file_names import file_names
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import names_of
from qaclims_ray.storage.files import exists, read_bytes, read_text
from qaclims_ray.storage.listing import list_files
from qaclims_ray.storage.paths import file_name, join
from qaclims_ray.types import BACKGROUND, LabelMap

_PNG = ".png"
_SUFFIXES = (_PNG, LABELME, YOLO)
_LISTS = (NAMES_FILE, CLASSES_FILE)
_SHOWN = 5


class Given(NamedTuple):
    """Where a label map is; see `Source`."""

    mask: str | None
    annotations: str | None


class Found(NamedTuple):
    """The label maps at a place."""

    of: dict[str, Given]
    """What is given, by the names of images."""
    unknown: list[str]
    """Files and entries that belong to no image."""


def readers_of(
    experiment: Experiment, uri: str
) -> dict[str, Callable[[tuple[int, int]], LabelMap]]:
    """Find label maps of a run's images, in any of the formats.

    Args:
        experiment: The run, with complete images.
        uri: Folder, or a COCO file.

    Returns:
        By the name of each image that has one, what reads it, given the image's height and width.

    Raises:
        ValueError: see `find_label_maps`.
    """
    images = artifact(experiment, "images")
    names = class_names(images)
    files = dict(file_names(images))
    found = find_label_maps(uri, {name: files.get(name, name) for name in names_of(images)}, names)
    return {
        name: partial(read_label_map, given, num_classes=len(names))
        for name, given in found.of.items()
    }


def read_label_map(given: Given, size: tuple[int, int], *, num_classes: int) -> LabelMap:
    """Read a label map that `find_label_maps` found.

    Raises:
        ValueError: it is gone or broken, of another size, or has illegal values.
    """
    label_map = drawn_mask(*given, size, MAX_PIXELS, read_bytes)
    assert label_map is not None
    check_mask(label_map, size, num_classes, where_of(*given))
    return label_map


def find_label_maps(uri: str, files: Mapping[str, str], class_names: Sequence[str]) -> Found:
    """Find the label maps of images; none is opened but for a COCO file.

    Args:
        uri: Folder, or a COCO file.
        files: The file of each image, as `run.file_names` has it, by the image's name.
        class_names: In the order of their indices.

    Raises:
        ValueError: two belong to one image; the classes are others; a COCO file lacks outlines.
    """
    if uri.endswith(".json"):
        return _of_coco(uri, files, class_names)
    found = _of_folder(uri, files, class_names)
    lists = [file for file in found.unknown if file.endswith(".json")]
    if not found.of and len(lists) == 1:
        return _of_coco(join(uri, lists[0]), files, class_names)
    return found


def _of_folder(folder: str, files: Mapping[str, str], class_names: Sequence[str]) -> Found:
    listed = list_files(folder)
    spellings = {stem(file): name for name, file in files.items()} | {name: name for name in files}
    owner = {
        normalize("NFC", file_name(spelling, suffix)): name
        for spelling, name in spellings.items()
        for suffix in _SUFFIXES
    }
    own: dict[str, str] = {}
    unknown: list[str] = []
    for file in listed:
        name = owner.get(normalize("NFC", file))
        if name is None:
            unknown += [file] if file.endswith(_SUFFIXES) and file != CLASSES_FILE else []
        elif name in own:
            raise ValueError(f"two files of {name!r} in {folder}, {own[name]} and {file}: keep one")
        else:
            own[name] = file
    values = _values(folder, listed, class_names)
    as_here = list(range(1, len(class_names) + 1))
    if values not in (None, as_here) and any(file.endswith(_PNG) for file in own.values()):
        raise ValueError(
            f"{folder} has PNGs, and its list of classes is not the run's in the same order, which "
            f"is {', '.join(class_names[:_SHOWN])}…: their values would mean other classes. Write "
            "them with these values, or remove the list if it is of other files"
        )
    of = {
        name: Given(uri, None)
        if (uri := join(folder, file)).endswith(_PNG)
        else Given(None, refer_to_file(uri, class_names, values or as_here))
        for name, file in own.items()
    }
    return Found(of, unknown)


def _values(folder: str, listed: Sequence[str], class_names: Sequence[str]) -> list[int] | None:
    """Return the run's mask value of each class that a list beside the files names.

    It lies in the folder or, where this one is called `labels` as in YOLO's data sets, above it.
    Without a list the classes are the run's.
    """
    above, _, last = folder.rpartition("/")
    if last == "labels" and not set(_LISTS).intersection(listed):
        folder, listed = above, [name for name in _LISTS if exists(join(above, name))]
    if NAMES_FILE in listed:
        where, names = NAMES_FILE, yolo_names(folder, listed) or ()
    elif CLASSES_FILE in listed:
        where, text = CLASSES_FILE, read_text(join(folder, CLASSES_FILE), "class names")
        names = [line for line in text.splitlines() if line.strip()]
    else:
        return None
    return [_value(spelled(name), class_names, join(folder, where)) for name in names]


def _value(name: str, class_names: Sequence[str], uri: str) -> int:
    if name in class_names:
        return 1 + class_names.index(name)
    if is_background(name):
        return BACKGROUND
    raise ValueError(f"{uri}: {name!r} is no class; {nearest(name, class_names)}")


def _of_coco(uri: str, files: Mapping[str, str], class_names: Sequence[str]) -> Found:
    """Find the images of a COCO file by their file names, with or without suffix."""
    content = read_coco_file(uri)
    spellings = {file: name for name, file in files.items()} | {name: name for name in files}
    values = {number: _value(name, class_names, uri) for number, name in content.categories.items()}
    found = Found({}, [])
    for number, image in content.images.items():
        if isinstance(image, ValueError):
            raise ValueError(f"{uri}: image {number}: {image}")
        flat = stem(image.file_name).replace("/", "__")
        own = spellings.get(image.file_name) or spellings.get(flat)
        if own is None:
            found.unknown.append(image.file_name)
        elif own in found.of:
            raise ValueError(f"{uri}: two entries of {own!r}, the last {image.file_name}: keep one")
        else:
            objects = content.instances.get(number, [])
            found.of[own] = Given(None, _reference(uri, image, objects, values))
    return found


def _reference(
    uri: str, image: CocoImage, objects: Sequence[Instance], values: Mapping[Number, int]
) -> str:
    unknown = [one.category for one in objects if one.category not in values]
    if unknown:
        raise ValueError(f"{uri}: {image.file_name} has the category {unknown[0]!r}, which is none")
    if image.size is None or not all(one.has_outline for one in objects):
        lacks = "height and width" if image.size is None else "an outline of each object"
        raise ValueError(f"{uri}: {image.file_name} lacks {lacks}")
    drawn = [
        (value - 1, one.offset, one.size)
        for one in objects
        if (value := values[one.category]) != BACKGROUND
    ]
    return refer_to(uri, *image.size, drawn)
