"""JSON files that hold records of a declared kind: other content is a damage, told in one line."""

import json
from functools import lru_cache
from types import GenericAlias
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from qaclims_ray.storage.files import MissingFileError, read_bytes
from qaclims_ray.storage.paths import shown

_T = TypeVar("_T")


def read_record(uri: str, kind: type[_T] | GenericAlias) -> _T | None:
    """Read a record from a JSON file; None where there is no file.

    Args:
        uri: The file.
        kind: Type of the record, such as a TypedDict; further keys are kept.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    try:
        return _parse(uri, kind, read_bytes(uri))
    except MissingFileError:
        return None


def require_record(uri: str, kind: type[_T] | GenericAlias) -> _T:
    """Read a record from a JSON file that must be there; see `read_record`."""
    record = read_record(uri, kind)
    if record is None:
        raise _damaged(uri, "it is missing")
    return record


def read_lines(uri: str, kind: type[_T] | GenericAlias) -> list[_T]:
    """Read a record from each line of a JSON-lines file; none where there is no file."""
    try:
        return [_parse(uri, kind, line) for line in read_bytes(uri).splitlines()]
    except MissingFileError:
        return []


def _parse(uri: str, kind: type[_T] | GenericAlias, content: bytes) -> _T:
    try:
        parsed = json.loads(content)
        _adapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(uri, f"{where}: {first['msg']}" if where else first["msg"]) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(uri, str(error)) from None
    return parsed


def _damaged(uri: str, why: str) -> ValueError:
    return ValueError(
        f"{shown(uri)} is damaged, {why}: restore it from a copy, or remove it and make anew what "
        "it belongs to (--overwrite)"
    )


@lru_cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
