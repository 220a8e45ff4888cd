"""The space of a search, checked before anything runs, and values drawn from it, as plain data.

Trials share all artifacts before RITC, so a key that decides one of those cannot be varied here:
every trial would have to make its own. Thresholds need no trials: each evaluation scores them all.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.search import Domain, Tune
from qaclims_ray.run.recipe import sections_of

SHARED = ("images", "corpus", "pairs", "texts", "classifier")
"""Artifacts that all trials read and none makes."""
_RANGES = ("uniform", "log_uniform", "int")
_BETWEEN = 0.381966
"""Relative place in a range of the value that is tried between its ends; hardly ever a whole
number."""

Space = Mapping[str, Domain]


def check(experiment: Experiment) -> None:
    """Refuse a search that could not be carried out.

    Raises:
        ValueError: one line for each key that is unknown or cannot be searched, and each value
            that the configuration does not admit; a grid that `num_trials` does not fill.
    """
    tune = experiment.tune
    problems = [
        f"tune.space: {key}: {problem}"
        for key, domain in tune.space.items()
        for problem in _problems(experiment, key, domain)
    ]
    if not tune.space:
        problems.append("tune.space: empty; give {key: {log_uniform: [low, high]}} or the like")
    problems += _contradictions(experiment) if not problems else ()
    if problems:
        raise ValueError("\n  ".join(["the search cannot be run:", *problems]))


def sample(tune: Tune) -> list[Tree]:
    """Draw the overrides of all trials; equal for equal `tune.seed`.

    Trials go through the combinations of all grids in order, and again from the first; every other
    key is drawn independently for each.
    """
    rng = np.random.default_rng(tune.seed)
    grid = list(_grid(tune.space))
    return [
        {
            key: grid[number % len(grid)][key] if "grid" in domain else draw(domain, rng)
            for key, domain in tune.space.items()
        }
        for number in range(tune.num_trials)
    ]


def draw(domain: Domain, rng: np.random.Generator) -> Any:
    """Draw one value of a domain, as plain data."""
    ((kind, values),) = domain.items()
    if kind in ("choice", "grid"):
        return values[int(rng.integers(len(values)))]
    low, high = values
    if kind == "int":
        return int(rng.integers(low, high, endpoint=True))
    if kind == "uniform":
        return float(rng.uniform(low, high))
    return min(high, math.exp(rng.uniform(math.log(low), math.log(high))))


def most_epochs(experiment: Experiment) -> int:
    """Return the number of epochs of the longest trial that there may be."""
    domain = experiment.tune.space.get("train.ritc.epochs", {})
    return max((experiment.train.ritc.epochs, *(max(values) for values in domain.values())))


def _grid(space: Space) -> Iterator[Tree]:
    """Yield all combinations of the keys that form a grid; without any, one empty combination."""
    keys = [key for key, domain in space.items() if "grid" in domain]
    for values in product(*(space[key]["grid"] for key in keys)):
        yield dict(zip(keys, values, strict=True))


def _problems(experiment: Experiment, key: str, domain: Domain) -> Iterator[str]:
    shape = _wrong_shape(domain)
    if shape is not None:
        yield shape
        return
    illegal = list(_illegal(experiment, key, domain))
    yield from illegal
    reason = None if illegal else _not_searchable(experiment, key)
    if reason is not None:
        yield reason


def _wrong_shape(domain: Domain) -> str | None:
    """Say what is wrong with a domain, whatever its key."""
    if len(domain) != 1:
        return f"give one kind of domain, not {sorted(domain)}"
    ((kind, values),) = domain.items()
    if kind not in _RANGES:
        return None if values else f"{kind} needs at least one value"
    number = int if kind == "int" else (int, float)
    numbers = all(isinstance(value, number) and not isinstance(value, bool) for value in values)
    if len(values) != 2 or not numbers or not values[0] < values[1]:
        what = "whole numbers" if kind == "int" else "numbers"
        return f"{kind} needs two {what} [low, high] with low < high (got {list(values)})"
    if kind == "log_uniform" and values[0] <= 0:
        return f"log_uniform needs numbers above 0 (got {list(values)})"
    return None


def _illegal(experiment: Experiment, key: str, domain: Domain) -> Iterator[str]:
    """Yield the reasons for which the configuration refuses values of a domain, each once."""
    reasons: set[str] = set()
    for value in _probes(domain):
        try:
            experiment.with_overrides({key: value})
        except ValueError as error:
            reason = str(error).removeprefix("overrides:").strip().removeprefix(f"{key}: ")
            if reason not in reasons:
                reasons.add(reason)
                yield reason


def _probes(domain: Domain) -> Sequence[Any]:
    """Choose values to try: both ends of a range and a value between, or every choice."""
    ((kind, values),) = domain.items()
    if kind in ("uniform", "log_uniform"):
        low, high = map(float, values)
        return [low, low + _BETWEEN * (high - low), high]
    return values


def _not_searchable(experiment: Experiment, key: str) -> str | None:
    """Say why a legal key cannot be varied among trials; None if it can."""
    if key == "train.seed":
        return "seeds are not searched: tune.seeds shows the spread over seeds"
    if key.startswith("evaluate."):
        return "scores are made at all evaluate.thresholds at once, so none needs to be searched"
    for name in SHARED:
        if _decides(experiment, key, name):
            return (
                f"it decides the artifact {name!r}, which all trials share: compare such values "
                "by a study (qaclims ablation), or search with each of them in a run of its own"
            )
    return None if _decides(experiment, key, "scores") else "it changes no score"


def _decides(experiment: Experiment, key: str, name: str) -> bool:
    """Tell whether an artifact depends on a key, or on part of the section that it names."""
    return any(
        key == part or key.startswith(f"{part}.") or part.startswith(f"{key}.")
        for part in sections_of(experiment, name)
    )


def _contradictions(experiment: Experiment) -> Iterator[str]:
    """Yield the settings of the search that do not go together."""
    tune, train = experiment.tune, experiment.train
    if experiment.cams.kind == "clip":
        yield (
            "cams.kind: a search trains networks, which CAMs of a CLIP do without: set "
            "cams.kind: network, or compare values by a study (qaclims ablation)"
        )
    if tune.searcher == "optuna" and find_spec("optuna") is None:
        yield "tune.searcher: optuna is not installed: pip install 'qaclims_ray[tune]'"
    if "best" in (train.ritc.keep, train.classifier.keep):
        yield "train: keep: best would select weights by images that are held out: set keep: last"
    grid = list(_grid(tune.space))
    if any("grid" in domain for domain in tune.space.values()):
        if tune.searcher == "optuna":
            yield "tune.searcher: optuna goes through no grid: write choice instead of grid"
        elif tune.num_trials % len(grid):
            yield (
                f"tune.num_trials: the grid has {len(grid)} combinations, {tune.num_trials} is no "
                "multiple of that"
            )
