"""Files that list images with their labels: CSV and JSONL."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

_HEADERS = {"image", "image_name", "name", "file", "filename", "file_name", "path"}


class Line(NamedTuple):
    """What one line says of one image."""

    number: int
    """Counts from 1, as editors do."""
    image: str
    labels: list[str]
    """Class names or class indices as written."""


def parse_csv(text: str) -> tuple[list[Line], list[tuple[int, str]]]:
    """Lines `image,label,label,…`; one cell may also hold labels separated by semicolons.

    A first line whose first cell is a word such as `image` or `file` is a header.

    Returns:
        The lines, and (line number, reason) where reading had to end.
    """
    lines: list[Line] = []
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for cells in reader:
            if not any(cells) or (not lines and cells[0].strip().lower() in _HEADERS):
                continue
            labels = [label.strip() for cell in cells[1:] for label in cell.split(";")]
            lines.append(Line(reader.line_num, cells[0].strip(), [x for x in labels if x]))
    except csv.Error as error:
        return lines, [(reader.line_num, str(error))]
    return lines, []


def parse_jsonl(text: str) -> tuple[list[Line], list[tuple[int, str]]]:
    """Lines `{"image": "a.jpg", "labels": ["cat", 3]}`.

    Returns:
        The lines, and (line number, reason) of those that cannot be read.
    """
    lines: list[Line] = []
    errors: list[tuple[int, str]] = []
    for number, item in _json_lines(text):
        match item:
            case {"image": str(image), "labels": list(labels)}:
                lines.append(Line(number, image, [str(label) for label in labels]))
            case _:
                errors.append((number, 'expected {"image": "…", "labels": […]}'))
    return lines, errors


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """(line number, parsed line), None for a line that is no JSON; blank lines are left out."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, None
