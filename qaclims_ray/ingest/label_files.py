"""Parse labels as people write them: JSONL files, label files of tars, class names."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby
from typing import Any, NamedTuple
from unicodedata import normalize

from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import read_text
from qaclims_ray.storage.paths import check_text

_SEPARATORS = re.compile(r"[\n,;|]")
_NO_CLASSES = {"background", "bg", "void", "ignore", "ignored", "unlabeled", "unlabelled"}
"""Names that lists made for other tools give to the mask values 0 and 255, without signs."""
_SHOWN = 5
"""Number of class names that an error shows."""
_COMPARED = 1000
"""Class names that an unknown one is compared with."""
_DIGITS = 19
"""Digits from which on a number is surely no class index."""


class Line(NamedTuple):
    """One line about one image."""

    number: int
    """Counts from 1, as editors do."""
    image: str
    labels: list[str]
    """Class names or class indices as written."""
    mask: str | None = None
    """Path or URL of the label map, if the line gives one."""


def parse_jsonl(text: str) -> tuple[list[Line], list[tuple[int, str]]]:
    """Parse lines `{"image": "a.jpg", "labels": ["cat", 3]}`, optionally with `"mask": "a.png"`.

    Returns:
        The lines, and (line number, reason) of those that cannot be read.
    """
    lines: list[Line] = []
    errors: list[tuple[int, str]] = []
    for number, item in _json_lines(text):
        line = attempt(_json_line, number, item)
        if isinstance(line, ValueError):
            errors.append((number, str(line)))
        else:
            lines.append(line)
    return lines, errors


def parse_labels(content: bytes, *, is_json: bool) -> list[str]:
    """Parse the labels of one image in a file of its own.

    Args:
        content: names or indices, separated by commas, semicolons, bars or line ends; or JSON.
        is_json: the content is JSON: a list, or an object whose `labels` are a list.

    Raises:
        ValueError: the content is something else.
    """
    if not is_json:
        labels = map(spelled, _SEPARATORS.split(content.decode("utf-8-sig")))
        return [label for label in labels if label]
    try:
        match json.loads(content):
            case {"labels": list(labels)} | list(labels):
                return [_json_label(label) for label in labels]
            case _:
                raise ValueError('expected {"labels": […]} or a list')
    except RecursionError as error:
        raise ValueError("too many brackets") from error


def resolve_names(
    labels: Collection[str], given: Sequence[str] | None, file: str | None
) -> tuple[str, ...]:
    """Find the class names, in the order of their indices.

    Args:
        labels: all labels of a data set as written.
        given: the names in the configuration, if any.
        file: path of a file with one name per line, read where `given` is None.

    Raises:
        ValueError: there are class indices and no list of names; a name comes twice, is that of a
            background, or, without a list, is more likely another's misspelling.
    """
    if given is not None:
        return _check_names([spelled(name) for name in given], "data.class_names")
    if file is not None:
        text = read_text(file, "class names, one per line")
        return _check_names([name for line in text.splitlines() if (name := spelled(line))], file)
    if any(label.isdecimal() for label in labels):
        named = next((f" ({label!r} is not)" for label in labels if not label.isdecimal()), "")
        raise ValueError(
            f"the labels are class indices{'' if named else ' only'}{named}; write the class "
            "names, one per line, into classes.txt, or give data.class_names"
        )
    return _check_names(_check_found(sorted(set(labels))), "labels")


def check_no_one_hot(lengths: Collection[int], labels: Collection[str]) -> None:
    """Check that the labels of images are not columns of 1 and 0, one for each class.

    As class indices they would give the first two classes to every image.

    Args:
        lengths: How many labels images have, each number once.
        labels: The labels of all, each once.

    Raises:
        ValueError: they are: 1 and 0 alone, as many for each image, more than one.
    """
    if len(lengths) == 1 and max(lengths) > 1 and {"0", "1"}.issuperset(labels):
        raise ValueError(
            f"every image has {max(lengths)} labels, all of them 1 or 0: columns of classes, not "
            "class indices. Name the classes in the header of a CSV (image,cat,dog), or list the "
            "classes that an image shows"
        )


def spelled(label: str) -> str:
    """Return a class name in the one spelling of its accents and blanks.

    Raises:
        ValueError: it is no text that tables hold.
    """
    return " ".join(normalize("NFC", check_text(label)).split())


def by_name(names: Iterable[str]) -> dict[str, int]:
    """Return the index of each class name."""
    return {name: index for index, name in enumerate(names)}


def label_indices(labels: Iterable[str], indices: Mapping[str, int]) -> list[int]:
    """Convert labels as written to class indices, sorted, unique.

    Args:
        labels: names or indices.
        indices: index of each class name, see `by_name`.

    Raises:
        ValueError: a label is neither a class name nor a class index.
    """
    return sorted({_index(label, indices) for label in labels})


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a hint for an unknown class name: the nearest known one, or the first few."""
    # Among many, each of many unknown names would take a second.
    close = get_close_matches(name, known, n=1) if len(known) <= _COMPARED else []
    if close:
        return f"did you mean {close[0]!r}?"
    rest = f" and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    return f"classes are {', '.join(known[:_SHOWN])}{rest}"


def is_background(name: str) -> bool:
    """Tell whether a name is one that other tools' lists give to the mask values 0 and 255.

    CVAT writes `background:0,0,0::`, labelme `__ignore__` and `_background_`.
    """
    return re.sub(r"[\W\d_]", "", name.partition(":")[0]).lower() in _NO_CLASSES


def _check_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{where}: class names must differ, but {twice[0]!r} comes twice")
    for name in names:
        if is_background(name):
            raise ValueError(
                f"{where}: {name!r} is no class: in masks 0 is background, 255 is ignored, and the "
                "first class is 1. Take it out; an image without any class has an empty label"
            )
    return tuple(names)


def _check_found(names: Sequence[str]) -> Sequence[str]:
    """Check the class names of a data set that lists none: its labels, sorted."""
    known = set(names)
    list_them = "if all are classes, list them in classes.txt or data.class_names"
    for name in names:
        if all(map(_is_number, name.split())):
            raise ValueError(f"the label {name!r} is neither a class name nor a class index")
        parts = name.split()
        if len(parts) > 1 and known.issuperset(parts):
            raise ValueError(
                f"the label {name!r} is one class, and so are {', '.join(map(repr, parts))}: "
                f"separate labels by semicolons; {list_them}"
            )
    for _, group in groupby(sorted(names, key=str.casefold), key=str.casefold):
        if len(alike := list(group)) > 1:
            raise ValueError(
                f"the labels {alike[0]!r} and {alike[1]!r} differ in capitals only: write them "
                f"alike; {list_them}"
            )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json_line(number: int, item: Any) -> Line:
    match item:
        case {"image": str(image), "labels": list(labels)}:
            mask = item.get("mask")
            texts = [_json_label(label) for label in labels]
            return Line(number, image, texts, str(mask) if mask else None)
        case _:
            raise ValueError('expected {"image": "…", "labels": […]}')


def _json_label(value: Any) -> str:
    match value:
        case str() if label := spelled(value):
            return label
        case int() if not isinstance(value, bool) and value >= 0:
            return str(value)
        case _:
            raise ValueError(
                f"the label {json.dumps(value)} is neither a class name nor a class index"
            )


def _index(label: str, indices: Mapping[str, int]) -> int:
    if label in indices:
        return indices[label]
    if label.isdecimal() and len(label) < _DIGITS and int(label) < len(indices):
        return int(label)
    raise ValueError(f"unknown class {label!r}; {nearest(label, list(indices))}")


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Yield line number and parsed line, None for one that is no JSON; leave out blank lines."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, None
