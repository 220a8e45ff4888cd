"""MS COCO 2014.

    <root>/train2014/COCO_train2014_<id>.jpg         or val2014, COCO_val2014_
    <root>/annotations/instances_train2014.json

COCO numbers its 80 categories from 1 to 90 with gaps. Here class index i is the i-th of them in
the order of these numbers, and label maps hold i + 1, so 0 to 80: the 81 values of the published
weakly supervised codes. Label maps are rasterised from the instances when an image is loaded (see
`rasterise`). Labels are the union of all instances, crowds included; the images without any
(702 of train, 367 of val) are left out, as in the published counts, unless asked for.
"""

from pathlib import PurePosixPath
from typing import NamedTuple

from qaclims_ray.ingest.json_stream import json_members
from qaclims_ray.ingest.rasterise import refer_to
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

_UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORY_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED_IDS)
"""COCO's category number of each class index."""

EXPECTED_COUNTS: dict[str, tuple[int, int | None]] = {
    "train": (82_081, None),
    "val": (40_137, None),
}
"""Published number of images with labels of each split; the numbers of pairs are not."""

_LABEL_OF_ID = {number: label for label, number in enumerate(CATEGORY_IDS)}


class _Image(NamedTuple):
    name: str
    height: int
    width: int


class _Instance(NamedTuple):
    category: int
    offset: int
    """Position of its JSON in the file, in bytes, as is the size."""
    size: int


def read_coco(
    root: str,
    split: str,
    *,
    annotations: str | None = None,
    images: str | None = None,
    unlabelled: bool = False,
) -> Listing:
    """List a split. The shapes of instances stay in their file until an image is loaded.

    Args:
        root: the folder that holds `train2014`, `val2014` and `annotations`; path or URL.
        split: `train` or `val`.
        annotations: another instances file, below `root` or by absolute path or URL.
        images: another folder of images, below `root` or by absolute path or URL.
        unlabelled: list the images without instances too, their labels unknown.

    Raises:
        ValueError: the instances file is missing or broken. Errors of single images are in
            `Listing.errors`.
    """
    file = locate(root, annotations or f"annotations/instances_{split}2014.json")
    folder = locate(root, images or f"{split}2014")
    listed, instances = _read_instances(file)
    without = listed.keys() - instances.keys()
    if unlabelled:
        instances |= {number: [] for number in without}
    sources, errors = separate(
        (f"image {number}", attempt(_source, folder, file, listed.get(number), objects))
        for number, objects in instances.items()
    )
    sources, repeated = first_of_each_name(sources)
    return Listing(sources, errors + repeated, CLASSES, 0 if unlabelled else len(without))


def _read_instances(path: str) -> tuple[dict[int, _Image], dict[int, list[_Instance]]]:
    """Read the images of a file by their numbers, and the instances of each."""
    images: dict[int, _Image] = {}
    instances: dict[int, list[_Instance]] = {}
    for key, value, offset, size in json_members(path):
        match key, value:
            case "images", {
                "id": number,
                "file_name": str(name),
                "height": int(h),
                "width": int(w),
            }:
                images[number] = _Image(name, h, w)
            case "annotations", {"image_id": number, "category_id": category, "segmentation": _}:
                instances.setdefault(number, []).append(_Instance(category, offset, size))
            case (("images" | "annotations"), _):
                raise ValueError(
                    f"{path}: no COCO instances: one of its {key} lacks what belongs to it "
                    f"(file_name, segmentation and so on), at byte {offset:,}"
                )
            case _:
                pass
    return images, instances


def _source(folder: str, file: str, image: _Image | None, objects: list[_Instance]) -> Source:
    if image is None:
        raise ValueError("instances of an image that the file does not list")
    unknown = {one.category for one in objects} - _LABEL_OF_ID.keys()
    if unknown:
        raise ValueError(f"category {min(unknown)} is not one of COCO's 80")
    labelled = [(_LABEL_OF_ID[one.category], one.offset, one.size) for one in objects]
    return Source(
        name=PurePosixPath(image.name).stem,
        image=join(folder, check_inside(image.name)),
        labels=sorted({label for label, _, _ in labelled}) or None,
        mask=None,
        annotations=refer_to(file, image.height, image.width, labelled) if labelled else None,
    )
