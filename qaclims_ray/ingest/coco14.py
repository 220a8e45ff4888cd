"""MS COCO 2014.

    <root>/train2014/COCO_train2014_<id>.jpg         or val2014, COCO_val2014_
    <root>/annotations/instances_train2014.json

The file's own categories are the classes, in the order of their numbers. COCO numbers its 80 from 1
to 90 with gaps, so class index i is the i-th of them, and label maps hold i + 1, so 0 to 80: the 81
values of the published weakly supervised codes. Another file's categories can be mapped to them.
Label maps are rasterised from the instances when an image is loaded (see `rasterise`). Labels are
the union of all instances, crowds included; the images without any (702 of train, 367 of val) are
left out, as in the published counts, unless asked for.

An image with an object that has no outline, such as a box alone, has labels but no ground truth: a
label map would say background there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from qaclims_ray.ingest.coco_file import CocoImage, Instance, Number, read_coco_file
from qaclims_ray.ingest.label_files import by_name, is_background, nearest
from qaclims_ray.ingest.rasterise import Crowds, Overlap, refer_to
from qaclims_ray.ingest.sources import Listing, Source, first_of_each_name
from qaclims_ray.storage.errors import attempt, separate
from qaclims_ray.storage.paths import check_inside, join, locate

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 category names, by class index."""

EXPECTED_COUNTS: dict[str, tuple[int, int | None]] = {
    "train": (82_081, None),
    "val": (40_137, None),
}
"""Published number of images with labels of each split; the numbers of pairs are not."""

_NAMES_SHOWN = 5


def read_coco(
    root: str,
    split: str,
    *,
    annotations: str | None = None,
    images: str | None = None,
    unlabelled: bool = False,
    classes: Mapping[str, str] | None = None,
    crowds: Crowds = "ignore",
    overlap: Overlap = "larger_first",
) -> Listing:
    """List a split. The shapes of instances stay in their file until an image is loaded.

    Args:
        root: the folder that holds `train2014`, `val2014` and `annotations`; path or URL.
        split: `train` or `val`.
        annotations: another instances file, below `root` or by absolute path or URL.
        images: another folder of images, below `root` or by absolute path or URL.
        unlabelled: list the images without instances too, their labels unknown.
        classes: maps the names of categories to COCO's 80, where they differ. None: the classes
            are the file's own categories.
        crowds: how label maps show crowds; see `rasterise`.
        overlap: what label maps show where objects overlap; see `rasterise`.

    Raises:
        ValueError: the instances file is missing, broken, or of another kind; `classes` has an
            unknown name. Errors of single images are in `Listing.errors`.
    """
    file = locate(root, annotations or usual_annotations(split))
    folder = locate(root, images or f"{split}2014")
    content = read_coco_file(file)
    names, label_of = _classes(content.categories, classes)
    without = content.images.keys() - content.instances.keys()
    objects_of = content.instances | {number: [] for number in without if unlabelled}
    refer = partial(refer_to, file, crowds=crowds, overlap=overlap)

    def source(number: Number, objects: Sequence[Instance]) -> Source:
        image = content.images.get(number, ValueError("the file does not list it"))
        if isinstance(image, ValueError):
            raise image
        labels = [_label(one.category, content.categories, label_of) for one in objects]
        return _source(folder, image, labels, objects, refer)

    sources, errors = separate(
        (f"image {number}", attempt(source, number, objects))
        for number, objects in objects_of.items()
    )
    sources, repeated = first_of_each_name(sources)
    return Listing(
        sources,
        content.errors + errors + repeated,
        names,
        0 if unlabelled else len(without),
        _warnings(sources),
    )


def usual_annotations(split: str) -> str:
    """Return the instances file of a split, below the data set's root."""
    return f"annotations/instances_{split}2014.json"


def _classes(
    categories: Mapping[Number, str], wanted: Mapping[str, str] | None
) -> tuple[tuple[str, ...], dict[Number, int]]:
    """Return the class names, and the class index of each category that is a class."""
    if wanted is None:
        names = tuple(dict.fromkeys(n for n in categories.values() if not is_background(n)))
        indices = by_name(names)
        return names, {number: indices[n] for number, n in categories.items() if n in indices}
    for given, known, what in (
        *((name, tuple(categories.values()), "category of the file") for name in wanted),
        *((name, CLASSES, "one of COCO's 80 classes") for name in wanted.values()),
    ):
        if given not in known:
            raise ValueError(f"data.classes: {given!r} is no {what}; {nearest(given, known)}")
    mapped = {number: wanted.get(name, name) for number, name in categories.items()}
    return CLASSES, {number: CLASSES.index(n) for number, n in mapped.items() if n in CLASSES}


def _label(category: Any, categories: Mapping[Number, str], label_of: Mapping[Number, int]) -> int:
    if not isinstance(category, (int, float, str)) or category not in categories:
        raise ValueError(f"category {json.dumps(category)} is none of the file's categories")
    if category not in label_of:
        raise ValueError(
            f"category {categories[category]!r} is no class: a background needs no objects, and "
            "other names than COCO's are mapped by data.classes, or all kept (data.classes: null)"
        )
    return label_of[category]


def _source(
    folder: str,
    image: CocoImage,
    labels: Sequence[int],
    objects: Sequence[Instance],
    refer: Callable[[int, int, Sequence[tuple[int, int, int]]], str],
) -> Source:
    """Make the source of an image; without ground truth if an object has no outline."""
    annotations = None
    if objects and image.size and all(one.has_outline for one in objects):
        shapes = zip(labels, objects, strict=True)
        placed = [(label, one.offset, one.size) for label, one in shapes]
        annotations = refer(*image.size, placed)
    return Source(
        name=PurePosixPath(image.file_name).stem,
        image=join(folder, check_inside(image.file_name)),
        labels=sorted(set(labels)) or None,
        mask=None,
        annotations=annotations,
    )


def _warnings(sources: Sequence[Source]) -> tuple[str, ...]:
    lacking = [one["name"] for one in sources if one["labels"] and one["annotations"] is None]
    if not lacking:
        return ()
    some = ", ".join(lacking[:_NAMES_SHOWN])
    return (
        f"{len(lacking):,} images have no ground truth, as the file lacks their size or an outline "
        f"of an object (a box alone, or corners that are no list of x and y in pixels): {some}",
    )
