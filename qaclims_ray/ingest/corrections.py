"""Masks that people corrected, in place of the ground truth that a data set comes with.

    <corrections>/<name>.png     a label map
    <corrections>/<name>.json    LabelMe
    <corrections>/<name>.txt     YOLO, polygons
    <corrections>.json           COCO: all images that the file lists are corrected

Names are those of the run's images, as `qaclims export-masks` writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from qaclims_ray.ingest.annotated import LABELME, YOLO, refer_to_file
from qaclims_ray.ingest.coco_file import CocoImage, Instance, Number, read_coco_file
from qaclims_ray.ingest.folder import CLASSES_FILE
from qaclims_ray.ingest.folder_files import stem
from qaclims_ray.ingest.label_files import is_background, nearest
from qaclims_ray.ingest.rasterise import refer_to
from qaclims_ray.ingest.sources import Listing, Source
from qaclims_ray.run.file_names import relative
from qaclims_ray.storage.files import list_files
from qaclims_ray.storage.paths import file_name, join

_SUFFIXES = (".png", LABELME, YOLO)
_SHOWN = 3


class _Truth(NamedTuple):
    """Where the ground truth of an image is; see `Source`."""

    mask: str | None
    annotations: str | None


def corrected(listing: Listing, uri: str) -> Listing:
    """Return a listing in which corrections replace the ground truth of their images.

    Args:
        listing: A data set.
        uri: Folder, or a COCO file.

    Raises:
        ValueError: no correction belongs to an image, two belong to one, or a COCO file has other
            classes, or objects without outlines.
    """
    names = [source["name"] for source in listing.sources]
    if uri.endswith(".json"):
        files = relative([source["image"] for source in listing.sources])
        spellings = dict(zip(files, names, strict=True)) | {name: name for name in names}
        found, unknown = _of_coco(uri, spellings, listing.class_names)
    else:
        found, unknown = _of_folder(uri, names, listing.class_names)
    if not found:
        raise ValueError(
            f"data.corrections: {uri} has no mask of any image: expected NAME.png, NAME.json "
            f"(LabelMe) or NAME.txt (YOLO), such as {names[0]}.png, or one COCO file"
        )
    sources = list[Source]()
    for source in listing.sources:
        mask, annotations = found.get(source["name"], (source["mask"], source["annotations"]))
        sources.append(Source({**source, "mask": mask, "annotations": annotations}))
    told = [f"{len(found):,} of {len(names):,} images have the ground truth of data.corrections"]
    if unknown:
        some = ", ".join(unknown[:_SHOWN])
        told.append(f"{len(unknown):,} corrections belong to no image, as {some}")
    return replace(listing, sources=sources, warnings=(*listing.warnings, *told))


def _of_folder(
    folder: str, names: Sequence[str], class_names: Sequence[str]
) -> tuple[dict[str, _Truth], list[str]]:
    """Find the files of images; return the others too."""
    files = [file for file in list_files(folder) if file.endswith(_SUFFIXES)]
    owner = {file_name(name, suffix): name for name in names for suffix in _SUFFIXES}
    found: dict[str, _Truth] = {}
    for file in (file for file in files if file in owner):
        if owner[file] in found:
            raise ValueError(
                f"data.corrections: two files of {owner[file]!r} in {folder}: keep one"
            )
        uri = join(folder, file)
        is_png = file.endswith(".png")
        found[owner[file]] = (
            _Truth(uri, None) if is_png else _Truth(None, refer_to_file(uri, class_names))
        )
    return found, [file for file in files if file not in owner and file != CLASSES_FILE]


def _of_coco(
    uri: str, spellings: Mapping[str, str], class_names: Sequence[str]
) -> tuple[dict[str, _Truth], list[str]]:
    """Find the images of a COCO file by their file names, with or without suffix."""
    content = read_coco_file(uri)
    labels: dict[Number, int] = {}
    for number, name in content.categories.items():
        if name in class_names:
            labels[number] = class_names.index(name)
        elif not is_background(name):
            raise ValueError(
                f"data.corrections: {uri}: the category {name!r} is no class; "
                f"{nearest(name, class_names)}"
            )
    found: dict[str, _Truth] = {}
    unknown: list[str] = []
    for number, image in content.images.items():
        if isinstance(image, ValueError):
            raise ValueError(f"data.corrections: {uri}: image {number}: {image}")
        own = spellings.get(image.file_name) or spellings.get(_spelling(image.file_name))
        if own is None:
            unknown.append(image.file_name)
        else:
            objects = content.instances.get(number, [])
            found[own] = _Truth(None, _reference(uri, image, objects, labels))
    return found, unknown


def _spelling(file: str) -> str:
    return stem(file).replace("/", "__")


def _reference(
    uri: str, image: CocoImage, objects: Sequence[Instance], labels: Mapping[Number, int]
) -> str:
    if image.size is None or not all(one.has_outline for one in objects):
        lacks = "height and width" if image.size is None else "an outline of each object"
        raise ValueError(f"data.corrections: {uri}: {image.file_name} lacks {lacks}")
    drawn = [
        (labels[one.category], one.offset, one.size) for one in objects if one.category in labels
    ]
    return refer_to(uri, *image.size, drawn)
