"""Parse labels as people write them: CSV and JSONL files, label files of tars, class names."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import read_text
from qaclims_ray.storage.paths import check_text

_HEADERS = {"image", "image_name", "name", "file", "filename", "file_name", "path"}
_LABELS = re.compile(r"(label|class)(s|es)?[ _]?\d*")
"""Columns that hold labels: `labels`, `class`, `label_2` and so on."""
_SEPARATORS = re.compile(r"[\n,;]")
_SHOWN = 5
"""Number of class names that an error shows."""


class Line(NamedTuple):
    """One line about one image."""

    number: int
    """Counts from 1, as editors do."""
    image: str
    labels: list[str]
    """Class names or class indices as written."""
    mask: str | None = None
    """Path or URL of the label map, if the line gives one."""


def parse_csv(text: str) -> tuple[list[Line], list[tuple[int, str]]]:
    """Parse lines `image,label,label,…`; one cell may also hold labels separated by semicolons.

    A first line whose first cell is a word such as `image` or `file` is a header. Its other
    columns are called `labels` (or `label`, `class`, `label_1`, `label_2` and so on) and `mask`,
    which holds label maps.

    No cell spans lines: a quote that is not closed costs its own line and no other.

    Returns:
        The lines, and (line number, reason) of those that cannot be read.

    Raises:
        ValueError: a header with other columns, or without any for labels.
    """
    lines: list[Line] = []
    errors: list[tuple[int, str]] = []
    mask_column: int | None = None
    for number, row in enumerate(io.StringIO(text, newline=None), start=1):
        cells = attempt(_cells, row)
        if isinstance(cells, ValueError):
            errors.append((number, str(cells)))
        elif cells and not lines and cells[0].lower() in _HEADERS:
            mask_column = _mask_column(cells)
        elif any(cells):
            lines.append(_line(number, cells, mask_column))
    return lines, errors


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
        content: names or indices, separated by commas, semicolons or line ends; or JSON.
        is_json: the content is JSON: a list, or an object whose `labels` are a list.

    Raises:
        ValueError: the content is something else.
    """
    if not is_json:
        return [label.strip() for label in _SEPARATORS.split(content.decode()) if label.strip()]
    try:
        match json.loads(content):
            case {"labels": list(labels)} | list(labels):
                return [check_text(str(label)) for label in labels]
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
        ValueError: the labels are indices without names; a name comes twice.
    """
    if given is not None:
        return _unique(given, "data.class_names")
    if file is not None:
        text = read_text(file, "class names, one per line")
        return _unique([name.strip() for name in text.splitlines() if name.strip()], file)
    if labels and all(label.isdecimal() for label in labels):
        raise ValueError(
            "the labels are class indices only; write the class names, one per line, into "
            "classes.txt, or give data.class_names"
        )
    return tuple(sorted(label for label in set(labels) if not label.isdecimal()))


def label_indices(labels: Iterable[str], names: Sequence[str]) -> list[int]:
    """Convert labels as written to class indices, sorted, unique.

    Raises:
        ValueError: a label is neither a class name nor a class index.
    """
    return sorted({_index(label, names) for label in labels})


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a hint for an unknown class name: the nearest known one, or the first few."""
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    rest = f" and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    return f"classes are {', '.join(known[:_SHOWN])}{rest}"


def _unique(names: Sequence[str], where: str) -> tuple[str, ...]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{where}: class names must differ, but {twice[0]!r} comes twice")
    return tuple(names)


def _cells(row: str) -> list[str]:
    try:
        cells = next(csv.reader([row], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{error}: a cell's quotes stand at its two ends, on one line") from error
    return [cell.strip() for cell in cells]


def _mask_column(header: Sequence[str]) -> int | None:
    """Find the position of the column of label maps in a legal header."""
    columns = [cell.lower() for cell in header[1:]]
    others = [cell for cell in columns if cell not in ("mask", "") and not _LABELS.fullmatch(cell)]
    if others or not set(columns) - {"mask", ""}:
        wrong = f"has the columns {', '.join(map(repr, others))}" if others else "has no labels"
        raise ValueError(
            f"the header {','.join(header)!r} {wrong}: legal are {header[0]!r}, 'labels' (cat;dog) "
            "and 'mask'; remove other columns"
        )
    return columns.index("mask") + 1 if "mask" in columns else None


def _line(number: int, cells: Sequence[str], mask_column: int | None) -> Line:
    mask = "".join(cells[mask_column : mask_column + 1]) if mask_column else ""
    texts = [cell for column, cell in enumerate(cells) if column not in (0, mask_column)]
    labels = [label.strip() for text in texts for label in text.split(";")]
    return Line(number, cells[0], [label for label in labels if label], mask or None)


def _json_line(number: int, item: Any) -> Line:
    match item:
        case {"image": str(image), "labels": list(labels)}:
            mask = item.get("mask")
            texts = [check_text(str(label)) for label in labels]
            return Line(number, image, texts, str(mask) if mask else None)
        case _:
            raise ValueError('expected {"image": "…", "labels": […]}')


def _index(label: str, names: Sequence[str]) -> int:
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    raise ValueError(f"unknown class {label!r}; {nearest(label, names)}")


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Yield line number and parsed line, None for one that is no JSON; leave out blank lines."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, None
