"""How much of what a search found goes with each key."""

from collections.abc import Sequence
from typing import Any

from qaclims_ray.config.search import Domain
from qaclims_ray.search.rows import TrialRow
from qaclims_ray.search.space import Space

_MIN_TRIALS = 8
"""Fewer say nothing about the importance of a key."""


def importance(rows: Sequence[TrialRow], space: Space) -> dict[str, float] | None:
    """How much of the score's variation among trials goes with each key; the shares sum to 1.

    By a random forest's impurity, on the score after the last epoch that all trials reached. None
    with fewer than 8 trials, or where scikit-learn (`pip install 'qaclims_ray[tune]'`) is missing.
    """
    usable = [row for row in rows if row["scores"] and row["status"] != "failed"]
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        return None
    if len(usable) < _MIN_TRIALS:
        return None
    reached = min(row["epochs"] for row in usable)
    values = [[_number(row["overrides"][key], space[key]) for key in space] for row in usable]
    forest = RandomForestRegressor(n_estimators=300, random_state=0)
    forest.fit(values, [row["scores"][reached - 1] for row in usable])
    shares = [round(float(share), 4) for share in forest.feature_importances_]
    return dict(zip(space, shares, strict=True))


def _number(value: Any, domain: Domain) -> float:
    """A value of a domain as a number: itself, or its place among the choices."""
    ((kind, values),) = domain.items()
    return float(values.index(value)) if kind in ("choice", "grid") else float(value)
