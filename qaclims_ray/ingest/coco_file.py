"""Read a file of COCO instances; an entry that cannot be used costs its own image at most."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from qaclims_ray.ingest.json_stream import json_members
from qaclims_ray.ingest.label_files import spelled
from qaclims_ray.ingest.rasterise import has_outline
from qaclims_ray.storage.errors import Failures

Number: TypeAlias = int | float | str
"""What images and categories are numbered by: whole numbers, or texts in some tools' files."""
ImageEntry: TypeAlias = "CocoImage | ValueError"
"""An image, or why its entry cannot be used."""


class CocoImage(NamedTuple):
    """An image."""

    file_name: str
    size: tuple[int, int] | None
    """Height and width; None where the file does not say."""


class Instance(NamedTuple):
    """An object."""

    category: Any
    """A `Number`, or what stands there instead."""
    has_outline: bool
    offset: int
    """Position of its JSON in the file, in bytes, as is the size."""
    size: int


class CocoFile(NamedTuple):
    """The content of a file; the shapes of instances stay there."""

    images: dict[Number, ImageEntry]
    instances: dict[Number, list[Instance]]
    """Instances, by the number of their image."""
    categories: dict[Number, str]
    """Names by number, in the order of numbers."""
    errors: Failures
    """Entries that belong to no image."""


def read_coco_file(path: str) -> CocoFile:
    """Read the images, instances and categories of a file at a path or URL.

    Raises:
        ValueError: the file is missing, broken, or of another kind.
    """
    content = CocoFile({}, {}, {}, [])
    for key, value, offset, size in json_members(path):
        match key, value:
            case "images", {"id": int() | float() | str() as number}:
                _add_image(content.images, number, value)
            case "annotations", {"image_id": int() | float() | str() as number}:
                outline = has_outline(value.get("segmentation"))
                one = Instance(value.get("category_id"), outline, offset, size)
                content.instances.setdefault(number, []).append(one)
            case "categories", {"id": int() | float() | str() as number, "name": str(name)}:
                if content.categories.setdefault(number, spelled(name)) != spelled(name):
                    raise ValueError(f"{path}: two categories have the id {number}")
            case (("images" | "annotations" | "categories"), _):
                lacks = "id and name" if key == "categories" else "image_id"
                reason = f"it lacks {'id' if key == 'images' else lacks}"
                content.errors.append((f"{key} (byte {offset:,})", reason))
            case _:
                pass
    _check_kind(path, content)
    ordered = sorted(content.categories.items(), key=lambda item: (isinstance(item[0], str), item))
    return content._replace(categories=dict(ordered))


def _add_image(images: dict[Number, ImageEntry], number: Number, entry: dict[str, Any]) -> None:
    match entry:
        case {"file_name": str(name), "height": int(height), "width": int(width)}:
            image = CocoImage(name, (height, width))
        case {"file_name": str(name)}:
            image = CocoImage(name, None)
        case _:
            image = ValueError("its entry lacks file_name")
    other = images.setdefault(number, image)
    if isinstance(other, CocoImage) and isinstance(image, CocoImage) and other != image:
        images[number] = ValueError(f"{other.file_name} and {image.file_name} have the same id")


def _check_kind(path: str, content: CocoFile) -> None:
    objects: Sequence[Instance] = [one for some in content.instances.values() for one in some]
    wrong = None
    if not content.categories:
        wrong = "it lists no categories, which name the classes"
    elif objects and all(one.category is None for one in objects):
        wrong = "none of its annotations has a category_id"
    elif not content.images:
        wrong = "it has no images"
    if wrong is not None:
        raise ValueError(f"{path}: no COCO instances: {wrong}")
