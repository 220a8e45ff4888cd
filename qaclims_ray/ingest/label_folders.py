"""Labels that lie in folders: a text file of YOLO for each image, or a folder for each class.

<root>/images/train/a.jpg  <root>/labels/train/a.txt   yolo: boxes or polygons, a line each
<root>/data.yaml           or classes.txt               names of YOLO's classes
<root>/images/cat/a.jpg                                 folders: the image shows a cat
"""

from collections.abc import Collection
from typing import Any

from qaclims_ray.config.overrides import parse_yaml
from qaclims_ray.ingest.folder_files import images_in, stem
from qaclims_ray.ingest.label_files import Line
from qaclims_ray.storage.errors import Failures
from qaclims_ray.storage.files import read_all, read_text
from qaclims_ray.storage.paths import join

NAMES_FILE = "data.yaml"
"""File of YOLO's data sets with the class names."""


def yolo_names(root: str, files: Collection[str]) -> tuple[str, ...] | None:
    """Return the class names in data.yaml, in the order of their indices; None without the file.

    Raises:
        ValueError: it lists no names.
    """
    if NAMES_FILE not in files:
        return None
    uri = join(root, NAMES_FILE)
    tree: Any = parse_yaml(read_text(uri, "the names of YOLO's classes"), uri)
    match tree:
        case {"names": [*names]}:
            return tuple(map(str, names))
        case {"names": {**names}} if sorted(names) == list(range(len(names))):
            return tuple(str(names[index]) for index in range(len(names)))
        case _:
            raise ValueError(f"{uri}: expected names: a list, or each class index with its name")


def yolo_lines(
    root: str, files: Collection[str], num_classes: int | None
) -> tuple[list[Line], Failures]:
    """Read the classes of each image that has a text file; an empty one shows no class.

    Args:
        root: Path or URL.
        files: All files below it.
        num_classes: Classes that there are names of; None: unknown yet.

    Returns:
        A line for each image; and the files that cannot be read, with the reason.

    Raises:
        ValueError: no image has one.
    """
    own = {image: f"labels/{stem(image.removeprefix('images/'))}.txt" for image in images_in(files)}
    there = sorted((image, file) for image, file in own.items() if file in files)
    if not there:
        raise ValueError(f"{root}: no labels/a.txt of any images/a.jpg (data.labels: yolo)")
    lines: list[Line] = []
    errors: Failures = []
    contents = read_all(join(root, file) for _, file in there)
    for number, ((image, file), content) in enumerate(zip(there, contents, strict=True), 1):
        try:
            if isinstance(content, ValueError):
                raise content
            labels = _labels(content.decode("utf-8-sig"), num_classes)
            lines.append(Line(number, image.removeprefix("images/"), labels))
        except ValueError as error:
            errors.append((image.removeprefix("images/"), f"{file}: {error}"))
    return lines, errors


def _labels(text: str, num_classes: int | None) -> list[str]:
    found: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if not words[0].isdecimal() or len(words) < 5:
            raise ValueError(f"line {number}: expected a class index, then a box or a polygon")
        if num_classes is not None and int(words[0]) >= num_classes:
            raise ValueError(f"line {number}: class index {words[0]} of {num_classes} classes")
        found[words[0]] = None
    return list(found)


def folder_lines(root: str, files: Collection[str]) -> list[Line]:
    """Take the folder of each image, right below `images`, for its one class.

    Raises:
        ValueError: an image lies in no such folder, or none does.
    """
    paths = sorted(image.removeprefix("images/") for image in images_in(files))
    loose = [path for path in paths if "/" not in path]
    if loose or not paths:
        named = f"{loose[0]} lies in none" if loose else "there is no image"
        raise ValueError(
            f"{root}: expected images/CLASS/a.jpg, a folder for each class (data.labels: folders), "
            f"and {named}"
        )
    return [Line(i, path, [path.partition("/")[0]]) for i, path in enumerate(paths, 1)]
