"""Errors as values: one bad item is recorded and the others go on."""

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Failures: TypeAlias = list[tuple[str, str]]
"""(name, reason) of each item that failed."""


def attempt(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | ValueError:
    """Return a function's result, or the ValueError that it raised."""
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        return error


def separate(outcomes: Iterable[tuple[str, T | ValueError]]) -> tuple[list[T], Failures]:
    """Separate the results of named attempts from the failures."""
    results: list[T] = []
    failures: Failures = []
    for name, outcome in outcomes:
        if isinstance(outcome, ValueError):
            failures.append((name, str(outcome)))
        else:
            results.append(outcome)
    return results, failures
