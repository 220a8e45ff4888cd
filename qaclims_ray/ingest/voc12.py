"""PASCAL VOC 2012, and any data set in its layout (the demo world is one).

    <root>/JPEGImages/<name>.jpg
    <root>/ImageSets/Segmentation/<split>.txt   one name per line, or two columns:
                                  /JPEGImages/<name>.jpg /SegmentationClassAug/<name>.png
    <root>/Annotations/<name>.xml               objects; their names are the image's labels
    <root>/SegmentationClass/<name>.png         label maps (or SegmentationClassAug)

Labels are the union of an image's objects, those marked `difficult` included: the published
`cls_labels.npy` was made in this way (jiwoon-ahn/irn `voc12/make_cls_labels.py`).
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree

from qaclims_ray.ingest.cls_labels import read_cls_labels
from qaclims_ray.ingest.label_files import nearest
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.storage.errors import Failures, attempt, separate
from qaclims_ray.storage.files import read_all, read_text
from qaclims_ray.storage.listing import existing
from qaclims_ray.storage.paths import check_inside, join, locate

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip
"""The 20 classes in the published code's spelling of questions and prompts."""

XML_NAMES = {
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
}
"""Annotation names that `CLASSES` spells otherwise."""

EXPECTED_COUNTS: dict[str, tuple[int, int | None]] = {
    "train": (1_464, None),
    "train_aug": (10_582, 16_458),
    "val": (1_449, None),
}
"""Published number of images, and of pairs where known, of each split."""

_TRAIN_AUG = (
    "The 10,582 names of train_aug (VOC's train and the images of SBD, Hariharan et al. 2011, "
    "without those of val) are not part of VOC: codes for weakly supervised segmentation publish "
    "them, such as jiwoon-ahn/irn (voc12/train_aug.txt), mostly with the label maps of "
    "SegmentationClassAug. Put the list there, or give its path or URL: data.split=…/train_aug.txt"
)

_MASKS_AUG = (
    "The label maps of the images of SBD are published with codes for weakly supervised "
    "segmentation, as SegmentationClassAug"
)


def read_voc(
    root: str,
    split: str,
    *,
    class_names: Sequence[str] = CLASSES,
    labels_file: str | None = None,
    masks_folder: str | None = None,
) -> Listing:
    """List a split.

    Args:
        root: the folder that holds `JPEGImages`; path or URL.
        split: name of a list in `ImageSets/Segmentation`, or path of a list that ends in `.txt`
            (`train_aug.txt` is published with segmentation codes, not with VOC). The images of
            `test` have no labels and no masks.
        class_names: the names of the annotations, or `CLASSES`.
        labels_file: the published `cls_labels.npy`, below `root` or by absolute path or URL;
            default: labels from the annotations.
        masks_folder: folder of label maps below `root`; default: `SegmentationClassAug` for an
            augmented split, else `SegmentationClass`. A second column in the list goes before it.
            Images without a label map there have none.

    Raises:
        ValueError: a file that the whole split needs is missing or broken. Errors of
            single images are in `Listing.errors`.
    """
    folder = masks_folder or usual_masks(split)
    listed, errors = _read_list(root, split, folder)
    listed, repeated = first_of_each_name(listed)
    errors += repeated
    if PurePosixPath(split).stem == "test":
        sources = [Source({**source, "labels": None, "mask": None}) for source in listed]
        return Listing(sources, errors, tuple(class_names))
    sources, unlabelled = _with_labels(root, listed, class_names, labels_file)
    sources = _with_masks(root, sources)
    warnings: tuple[str, ...] = ()
    if not any(source["mask"] for source in sources):
        warnings = (no_masks(join(root, folder), split),)
    return Listing(sources, errors + unlabelled, tuple(class_names), warnings=warnings)


def list_file(root: str, split: str) -> str:
    """Return the list of a split's images."""
    return split if split.endswith(".txt") else join(root, "ImageSets/Segmentation", f"{split}.txt")


def usual_masks(split: str) -> str:
    """Return the folder of the label maps of a split, below the data set's root."""
    return "SegmentationClassAug" if _is_augmented(split) else "SegmentationClass"


def no_masks(folder: str, split: str) -> str:
    """Say that no image of a split has a mask in a folder, and what that means."""
    augmented = " " + _MASKS_AUG if _is_augmented(split) else ""
    return (
        f"{folder} has no mask of any image, so that nothing will be scored; data.masks names "
        f"another folder below data.root.{augmented}"
    )


def parse_annotation(xml: bytes, class_names: Sequence[str]) -> list[int]:
    """Parse an annotation to the class indices of its objects, sorted, unique.

    Raises:
        ValueError: it is no XML, or has an object of a class that is not in `class_names`.
    """
    try:
        objects = ElementTree.fromstring(xml).findall("object")
    except ElementTree.ParseError as error:
        raise ValueError(f"its annotation is not XML: {error}") from error
    found = {(node.findtext("name") or "").strip() for node in objects}
    names = {name if name in class_names else XML_NAMES.get(name, name) for name in found}
    unknown = sorted(names - set(class_names))
    if unknown:
        raise ValueError(
            f"unknown class {unknown[0]!r} in its annotation; {nearest(unknown[0], class_names)}"
        )
    return sorted(class_names.index(name) for name in names)


def _read_list(root: str, split: str, masks_folder: str) -> tuple[list[Source], Failures]:
    """Read the list of a split: sources without labels yet, with the usual paths of masks."""
    path = list_file(root, split)
    expected = "a list of image names, one per line"
    lines = read_text(path, f"{expected}. {_TRAIN_AUG}" if _is_augmented(split) else expected)
    return separate(
        (f"{line.strip()} (line {number})", attempt(_entry, root, line.strip(), masks_folder))
        for number, line in enumerate(lines.splitlines(), start=1)
        if line.strip()
    )


def _is_augmented(split: str) -> bool:
    return PurePosixPath(split).stem.endswith("aug")


def _entry(root: str, line: str, masks_folder: str) -> Source:
    """Make the source of the image that a line of the list names."""
    columns = line.split()
    if len(columns) == 2 and "/" in columns[0]:
        image, mask = (column.lstrip("/") for column in columns)
    elif "/" in line:
        raise ValueError(f"a name without '/' expected, got {line!r}")
    else:
        name = check_inside(line)
        image, mask = f"JPEGImages/{name}.jpg", f"{masks_folder}/{name}.png"
    return Source(
        name=PurePosixPath(image).stem,
        image=join(root, check_inside(image)),
        labels=[],
        mask=join(root, check_inside(mask)),
        annotations=None,
    )


def _with_masks(root: str, sources: list[Source]) -> list[Source]:
    """Set the mask of sources to None where there is no such file."""
    there = existing([source["mask"] for source in sources if source["mask"]])
    return [
        Source({**source, "mask": source["mask"] if source["mask"] in there else None})
        for source in sources
    ]


def _with_labels(
    root: str, sources: list[Source], class_names: Sequence[str], labels_file: str | None
) -> tuple[list[Source], Failures]:
    """Add the labels to sources; those whose labels cannot be read fail."""
    names = [source["name"] for source in sources]
    if labels_file is None:
        found = _labels_from_annotations(root, names, class_names)
    else:
        table = read_cls_labels(locate(root, labels_file), len(class_names))
        found = [table.get(name, ValueError(f"no labels in {labels_file}")) for name in names]
    return separate(
        (
            source["name"],
            labels if isinstance(labels, ValueError) else Source({**source, "labels": labels}),
        )
        for source, labels in zip(sources, found, strict=True)
    )


def _labels_from_annotations(
    root: str, names: list[str], class_names: Sequence[str]
) -> list[list[int] | ValueError]:
    folder = join(root, "Annotations")
    paths = [join(folder, f"{name}.xml") for name in names]
    files = read_all(paths)
    if files and all(isinstance(file, ValueError) for file in files):
        raise ValueError(
            f"{folder}: no annotations; expected <name>.xml for each image of the list "
            "(or give the published cls_labels.npy as the labels file)"
        )
    return [
        file if isinstance(file, ValueError) else attempt(parse_annotation, file, class_names)
        for file in files
    ]
