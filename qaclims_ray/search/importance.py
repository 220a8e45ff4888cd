"""How much each key matters for the score of a trial."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qaclims_ray.config.search import Domain
from qaclims_ray.search.rows import TrialRow
from qaclims_ray.search.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_MIN_TRIALS = 8
"""Fewer say nothing about the importance of a key."""


def importance(rows: Sequence[TrialRow], space: Space) -> dict[str, float] | None:
    """Estimate how much each key matters for a trial to be among the best; the shares sum to 1.

    PED-ANOVA (Watanabe et al. 2023) of Optuna, on the score after the last epoch that all trials
    reached. None with fewer than 8 trials, or where Optuna (`pip install 'qaclims_ray[tune]'`) is
    missing.
    """
    usable = [row for row in rows if row["scores"] and row["status"] != "failed"]
    if len(usable) < _MIN_TRIALS or find_spec("optuna") is None:
        return None
    from optuna import create_study
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    reached = min(row["epochs"] for row in usable)
    distributions = {key: _distribution(domain) for key, domain in space.items()}
    study = create_study(direction="maximize")
    for row in usable:
        params = {key: _parameter(row["overrides"][key], space[key]) for key in space}
        score = row["scores"][reached - 1]
        study.add_trial(create_trial(params=params, distributions=distributions, value=score))
    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {key: round(shares[key], 4) for key in space}


def _distribution(domain: Domain) -> "BaseDistribution":
    """Return Optuna's name for a domain; choices, which may be lists, are known by their places."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    ((kind, values),) = domain.items()
    if kind in ("choice", "grid"):
        return CategoricalDistribution(range(len(values)))
    if kind == "int":
        return IntDistribution(*values)
    return FloatDistribution(*values, log=kind == "log_uniform")


def _parameter(value: Any, domain: Domain) -> Any:
    """Return Optuna's name for a value: the value itself, or its place among the choices."""
    ((kind, values),) = domain.items()
    return values.index(value) if kind in ("choice", "grid") else value
