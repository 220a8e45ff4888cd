"""MS COCO 2014.

    <root>/train2014/COCO_train2014_<id>.jpg              (val2014 likewise)
    <root>/annotations/instances_train2014.json

COCO numbers its 80 categories from 1 to 90 with gaps. Here class index i is the i-th of them in
the order of these numbers, and label maps hold i + 1, so 0 to 80: the 81 values of the published
weakly supervised codes. Label maps are rasterised from the instances when an image is loaded (see
`rasterise`). Labels are the union of all instances, crowds included; the images without any
(702 of train, 367 of val) are left out, as in the published counts.
"""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from qaclims_ray.data.errors import attempt, sort_out
from qaclims_ray.data.files import check_inside, join, read_text
from qaclims_ray.data.sources import Listing, Source, first_of_each_name

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
_SEPARATORS = re.compile(r"[\s,:]*")


def read_coco(root: str, split: str) -> Listing:
    """List a split.

    Args:
        root: the folder that holds `train2014`, `val2014` and `annotations`; path or URL.
        split: `train` or `val`.

    Raises:
        ValueError: the instances file is missing or broken. What concerns one image only is in
            `Listing.errors`.
    """
    path = join(root, "annotations", f"instances_{split}2014.json")
    try:
        images, objects = _read_instances(read_text(path, "COCO's instances in JSON"))
    except KeyError as error:
        raise ValueError(f"{path}: an image or instance lacks {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: broken JSON: {error}") from error
    folder = join(root, f"{split}2014")
    sources, errors = sort_out(
        (f"image {number}", attempt(_source, folder, images.get(number), about))
        for number, about in objects.items()
    )
    sources, repeated = first_of_each_name(sources)
    num_unlabelled = len(images.keys() - objects.keys())
    return Listing(sources, errors + repeated, CLASSES, num_unlabelled)


def _read_instances(text: str) -> tuple[dict[int, Any], dict[int, list[tuple[int, str]]]]:
    """Images by number, and of each image (category number, JSON of what `rasterise` needs).

    Instances are kept as text, one at a time: parsed, those of COCO would fill gigabytes.
    """
    images: dict[int, Any] = {}
    objects: dict[int, list[tuple[int, str]]] = {}
    for key, value in _members(text):
        if key == "images":
            images[value["id"]] = {part: value[part] for part in ("file_name", "height", "width")}
        elif key == "annotations":
            shape = {"iscrowd": value.get("iscrowd", 0), "segmentation": value["segmentation"]}
            shape_json = json.dumps(shape, separators=(",", ":"))
            objects.setdefault(value["image_id"], []).append((value["category_id"], shape_json))
    return images, objects


def _members(text: str) -> Iterator[tuple[str, Any]]:
    """(key, value) of a JSON object; (key, element) again and again where the value is a list."""
    decode = json.JSONDecoder().raw_decode
    position = _next(text, 0)
    if not text.startswith("{", position):
        raise json.JSONDecodeError("expected an object", text, position)
    position = _next(text, position + 1)
    while not text.startswith("}", position):
        key, position = decode(text, position)
        position = _next(text, position)
        is_list = text.startswith("[", position)
        position = _next(text, position + is_list)
        while not (is_list and text.startswith("]", position)):
            value, position = decode(text, position)
            yield key, value
            position = _next(text, position)
            if not is_list:
                break
        position = _next(text, position + is_list)


def _next(text: str, position: int) -> int:
    """Where the next token starts; commas and colons count as white space."""
    found = _SEPARATORS.match(text, position)
    return found.end() if found else position


def _source(folder: str, image: dict[str, Any] | None, objects: list[tuple[int, str]]) -> Source:
    if image is None:
        raise ValueError("instances of an image that the file does not list")
    unknown = {number for number, _ in objects} - _LABEL_OF_ID.keys()
    if unknown:
        raise ValueError(f"category {min(unknown)} is not one of COCO's 80")
    shapes = ",".join(
        f'{{"label":{_LABEL_OF_ID[number]},{shape_json[1:]}' for number, shape_json in objects
    )
    size = f'"height":{image["height"]},"width":{image["width"]}'
    return Source(
        name=PurePosixPath(image["file_name"]).stem,
        image=join(folder, check_inside(image["file_name"])),
        labels=sorted({_LABEL_OF_ID[number] for number, _ in objects}),
        mask=None,
        annotations=f'{{{size},"objects":[{shapes}]}}',
    )
