"""Read a CSV of labels, with or without a header.

A first line that names no image is a header. Its columns are known by their names: the image's,
those of labels, a label map's. Where there are no columns of labels, a column of 1 and 0 is a class
of its own. A header with any other column is refused: its numbers would be taken for classes.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qaclims_ray.ingest.label_files import Line, spelled
from qaclims_ray.storage.errors import attempt

_IMAGES = re.compile(r"(image|img|file)(id|index|name|path|file|url)?|name|path|url")
_LABELS = re.compile(r"(image|finding)?(label|class|tag|category|categories)(s|es|names?)?\d*")
_MASKS = re.compile(r"(mask|labelmap)(name|path|file|url)?")
"""Names of columns, without case, blanks and underscores."""
_FILE = re.compile(r".*(\.[A-Za-z]\w{1,4}|[/\\].*)")
"""What is meant for a file, whether or not there is one."""
_TRUTH = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_SEPARATORS = re.compile(r"[;|]")
_SHOWN, _LONGEST = 5, 80
"""Columns and characters of a header that an error shows."""


class _Columns(NamedTuple):
    """Positions of columns."""

    image: int = 0
    mask: int | None = None
    unused: frozenset[int] = frozenset()
    classes: dict[int, str] | None = None
    """Name of the class of each column of 1 and 0; None where other columns hold labels."""
    number: int | None = None
    """Number of columns in the header."""


def parse_csv(
    text: str, is_image: Callable[[str], bool]
) -> tuple[list[Line], list[tuple[int, str]]]:
    """Parse lines `image,label,label,…`; a cell may hold several labels, separated by `;` or `|`.

    No cell spans lines: a quote that is not closed costs its own line and no other.

    Args:
        text: content of the file.
        is_image: tells whether a cell names an image.

    Returns:
        The lines, and (line number, reason) of those that cannot be read.

    Raises:
        ValueError: a header with columns of unknown meaning, or without any for labels.
    """
    read = [(n, attempt(_cells, row)) for n, row in enumerate(io.StringIO(text, newline=None), 1)]
    errors = [(number, str(row)) for number, row in read if isinstance(row, ValueError)]
    rows = [(number, row) for number, row in read if not isinstance(row, ValueError) and any(row)]
    columns = _Columns()
    if rows and _is_header(rows[0][1], is_image):
        columns = _find_columns(rows[0][1], rows[1][1] if len(rows) > 1 else [])
        del rows[0]
    outcomes = [(number, attempt(_line, number, row, columns)) for number, row in rows]
    lines = [line for _, line in outcomes if isinstance(line, Line)]
    errors += [(number, str(error)) for number, error in outcomes if isinstance(error, ValueError)]
    return lines, errors


def _cells(row: str) -> list[str]:
    try:
        cells = next(csv.reader([row], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{error}: a cell's quotes stand at its two ends, on one line") from error
    return [cell.strip() for cell in cells]


def _is_header(cells: Sequence[str], is_image: Callable[[str], bool]) -> bool:
    words = [_word(cell) for cell in cells]
    if _IMAGES.fullmatch(words[0]) and any(map(_LABELS.fullmatch, words)):
        return True  # even if an image is called image.jpg
    return not is_image(cells[0]) and not _FILE.fullmatch(cells[0])


def _word(cell: str) -> str:
    return re.sub(r"[\W_]", "", cell.lower())


def _find_columns(header: Sequence[str], first: Sequence[str]) -> _Columns:
    """Find the columns by a header and the cells of the first line below it."""
    words = [_word(cell) for cell in header]
    image = next((i for i, word in enumerate(words) if _IMAGES.fullmatch(word)), 0)
    mask = next((i for i, word in enumerate(words) if _MASKS.fullmatch(word)), None)
    labels = [i for i, word in enumerate(words) if i != image and _LABELS.fullmatch(word)]
    taken = {image, mask, *labels}
    others = {i: name for i, name in enumerate(header) if i not in taken and name}
    # A first column without a name numbers the rows, as tables of pandas do.
    unused = frozenset(i for i in range(image) if not header[i])
    is_class = [first[i].lower() in _TRUTH for i in others if i < len(first)]
    if labels and not others:
        return _Columns(image, mask, unused)
    if not labels and len(is_class) == len(others) > 0 and all(is_class):
        if len({spelled(name) for name in others.values()}) < len(others):
            raise ValueError(f"the header {','.join(header)!r} names a column twice")
        return _Columns(image, mask, unused, others, len(header))
    wrong = "has no labels"
    if others:
        rest = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        wrong = f"has the columns {', '.join(map(repr, [*others.values()][:_SHOWN]))}{rest}"
    shown = ",".join(header)[:_LONGEST]
    raise ValueError(
        f"the header {shown!r} {wrong}: legal are {header[image]!r}, 'labels' (cat;dog), 'mask', "
        "and, instead of 'labels', a column of 1 and 0 for each class; remove other columns. (A "
        "first line that names no image is a header. Commas separate columns)"
    )


def _line(number: int, cells: Sequence[str], columns: _Columns) -> Line:
    image, mask = (
        "" if i is None else "".join(cells[i : i + 1]) for i in (columns.image, columns.mask)
    )
    if columns.classes is not None:
        return Line(number, image, _classes(cells, columns.classes, columns.number), mask or None)
    skipped = {columns.image, columns.mask, *columns.unused}
    texts = [cell for column, cell in enumerate(cells) if column not in skipped]
    labels = [spelled(label) for text in texts for label in _SEPARATORS.split(text)]
    return Line(number, image, [label for label in labels if label], mask or None)


def _classes(cells: Sequence[str], names: dict[int, str], number: int | None) -> list[str]:
    """Return the classes of a line whose columns hold 1 where the image shows them."""
    if len(cells) != number:
        raise ValueError(f"{len(cells)} cells, and the header has {number}")
    for column, name in names.items():
        if cells[column].lower() not in _TRUTH:
            raise ValueError(f"the column {name!r} holds {cells[column]!r}: legal are 1 and 0")
    return [spelled(name) for column, name in names.items() if _TRUTH[cells[column].lower()]]
