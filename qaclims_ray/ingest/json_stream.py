"""Read a JSON file that is larger than memory should hold, one member at a time."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from qaclims_ray.storage.files import Stream, open_stream

_CHUNK = 1 << 20
_LONGEST = 32 << 20
"""Most bytes of one value: a broken file is not searched to its end for a closing bracket."""
_ENDS = frozenset(" \t\r\n,:]}")
"""Characters that may follow a value."""
_BYTE_ORDER_MARK = codecs.BOM_UTF8.decode("latin-1")
_SEPARATORS = re.compile(r"[\s,:]*")


def json_members(path: str) -> Iterator[tuple[str, Any, int, int]]:
    """Yield key, value, and the value's offset and size in bytes, of each member of a JSON object.

    The elements of a list come one by one, each with the list's key.

    Raises:
        ValueError: there is no such file, or it is broken; the message says where.
    """
    with open_stream(path) as file:
        window = _Window(path, file)
        window.enter("{")
        while window.peek() != "}":
            key, _, _ = window.value()
            if window.peek() != "[":
                yield key, *window.value()
                continue
            window.enter("[")
            while window.peek() != "]":
                yield key, *window.value()
            window.enter("]")


class _Window:
    """A window on a file that moves on, as text of one character per byte."""

    def __init__(self, path: str, file: Stream) -> None:
        self._path, self._file = path, file
        self._text, self._at, self._start = "", 0, 0
        self._read_on()
        if self._text.startswith(_BYTE_ORDER_MARK):
            self._at = len(_BYTE_ORDER_MARK)

    def peek(self) -> str:
        """Return the next character, after commas, colons and white space; empty at the end."""
        while True:
            found = _SEPARATORS.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def enter(self, bracket: str) -> None:
        """Pass a bracket."""
        if self.peek() != bracket:
            raise self._broken(f"expected {bracket!r}", self._at)
        self._at += 1

    def value(self) -> tuple[Any, int, int]:
        """Read the next value, with its offset and size in bytes."""
        self.peek()
        is_last_try = False
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if is_last_try:
                    raise self._broken(error.msg, error.pos) from error
            except RecursionError as error:
                raise self._broken("too many brackets", self._at) from error
            else:
                # A number may go on in what is not yet read: 12 as 12.5 or 123.
                if is_last_try or self._text[end : end + 1] in _ENDS:
                    return self._take(value, end)
            is_last_try = not self._read_on() or len(self._text) > _LONGEST

    def _take(self, value: Any, end: int) -> tuple[Any, int, int]:
        raw, offset = self._text[self._at : end], self._start + self._at
        self._at = end
        return value if raw.isascii() else json.loads(raw.encode("latin-1")), offset, len(raw)

    def _read_on(self) -> bool:
        """Read a chunk and drop the text before it; return False at the end of the file."""
        chunk = self._file.read(_CHUNK)
        self._text = self._text[self._at :] + chunk.decode("latin-1")
        self._start, self._at = self._start + self._at, 0
        return bool(chunk)

    def _broken(self, why: str, position: int) -> ValueError:
        return ValueError(f"{self._path}: broken JSON at byte {self._start + position:,}: {why}")
