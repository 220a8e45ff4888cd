"""Errors as values: one broken item is recorded and the others go on."""

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def attempt(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | ValueError:
    """The function's result, or the ValueError that it raised."""
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        return error


def sort_out(
    outcomes: Iterable[tuple[str, T | ValueError]],
) -> tuple[list[T], list[tuple[str, str]]]:
    """The results, and (name, reason) of each that is an error."""
    results: list[T] = []
    errors: list[tuple[str, str]] = []
    for name, outcome in outcomes:
        if isinstance(outcome, ValueError):
            errors.append((name, str(outcome)))
        else:
            results.append(outcome)
    return results, errors
