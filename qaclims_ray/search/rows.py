"""The table of a search: one row per trial, read from its run, written and read again."""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from jaxtyping import Bool, Float

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.search import Domain
from qaclims_ray.search.space import Space
from qaclims_ray.search.trial import CURVE, OVERRIDES, scored_in
from qaclims_ray.storage.files import atomic_open, read_json
from qaclims_ray.storage.parquet import read_parquet, write_parquet

TRIALS = "trials.parquet"


class TrialRow(TypedDict):
    """One trial of a search."""

    trial: str
    """Name of its run below `search/trials`."""
    status: Literal["complete", "stopped", "failed"]
    epochs: int
    score: float | None
    """The first of `tune.metrics` after the last epoch, on the choosing images; null for a trial
    that failed before."""
    others: dict[str, float]
    """The other metrics."""
    front: bool
    """Whether it is complete, and no other complete trial is as good by all metrics and better by
    one."""
    threshold: float | None
    seconds: float | None
    overrides: Tree
    scores: list[float]
    """After each epoch."""
    curve: list[float]
    """mIoU at each threshold after the last epoch."""
    error: str | None
    """Traceback of a failed trial."""


def trial_row(
    experiment: Experiment, run: str, error: str | None, seconds: float | None
) -> TrialRow:
    """The row of a trial, from the files in its run; without regard to others, so off the front.

    Args:
        experiment: Of the search.
        run: Of the trial.
        error: Why it failed, if it did.
        seconds: How long it took, if that is known.
    """
    overrides = read_json(f"{run}/{OVERRIDES}") or {}
    epochs, (metric, *others) = scored_in(f"{run}/cam_net"), experiment.tune.metrics
    whole = len(epochs) == experiment.with_overrides(overrides).train.ritc.epochs
    done = whole and error is None
    return TrialRow(
        trial=run.rsplit("/", 1)[-1],
        status="complete" if done else "failed" if error else "stopped",
        epochs=len(epochs),
        score=epochs[-1][metric] if epochs else None,
        others={other: epochs[-1][other] for other in others} if epochs else {},
        front=False,
        threshold=epochs[-1]["threshold"] if epochs else None,
        seconds=None if seconds is None else round(seconds, 1),
        overrides=overrides,
        scores=[epoch[metric] for epoch in epochs],
        curve=read_json(f"{run}/{CURVE}") or [],
        error=None if error is None else re.sub("\x1b\\[[0-9;]*m", "", error),
    )


def with_front(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The rows in the order of their names, those on the front marked."""
    complete = [row for row in rows if row["status"] == "complete"]
    points = [[row["score"] or 0.0, *row["others"].values()] for row in complete]
    best = on_front(np.array(points)) if points else ()
    names = {row["trial"] for row, good in zip(complete, best, strict=True) if good}
    marked = [row | {"front": row["trial"] in names} for row in rows]
    return sorted(cast(list[TrialRow], marked), key=lambda row: row["trial"])


def on_front(points: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, "n"]:
    """Which points no other beats: is as high by all coordinates, and higher by one."""
    others, point = points[None], points[:, None]
    beaten = np.all(others >= point, axis=-1) & np.any(others > point, axis=-1)
    return ~np.any(beaten, axis=1)


def write_trials(rows: Sequence[TrialRow], experiment: Experiment, folder: str) -> None:
    """Write `trials.parquet`, and `trials.csv` without the curves."""
    table = trials_table(rows, list(experiment.tune.space), experiment.tune.metrics[1:])
    write_parquet(table, f"{folder}/{TRIALS}")
    with atomic_open(f"{folder}/trials.csv") as file:
        pa_csv.write_csv(table.drop_columns(["scores", "curve"]), file)


def trials_table(
    rows: Sequence[TrialRow], keys: Sequence[str], others: Sequence[str] = ()
) -> pa.Table:
    """One row per trial; each searched key is a column, `scores` and `curve` are lists."""
    names = ("trial", "status", "epochs", "score", "front", "threshold", "seconds")
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names}
    for other in others:
        columns[other] = pa.array([row["others"].get(other) for row in rows], pa.float64())
    for key in keys:
        columns[key] = _column([row["overrides"].get(key) for row in rows])
    lists = pa.list_(pa.float64())
    columns["scores"] = pa.array([row["scores"] for row in rows], lists)
    columns["curve"] = pa.array([row["curve"] for row in rows], lists)
    columns["error"] = pa.array([row["error"] for row in rows], pa.string())
    return pa.table(columns)


def read_trials(folder: str, space: Space, others: Sequence[str] = ()) -> list[TrialRow]:
    """The rows that `write_trials` wrote; `space` and other metrics are those of the search."""
    rows = read_parquet(f"{folder}/{TRIALS}").to_pylist()
    for row in rows:
        row["overrides"] = {key: _decoded(row.pop(key), space[key]) for key in space}
        found = {other: row.pop(other) for other in others}
        row["others"] = {other: value for other, value in found.items() if value is not None}
    return cast(list[TrialRow], rows)


def _column(values: Sequence[Any]) -> list[Any]:
    """Values as they are where a column can hold them, else each as JSON."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {bool, int, float, str}:
        return list(values)
    return [json.dumps(value) for value in values]


def _decoded(value: Any, domain: Domain) -> Any:
    """What `_column` made a JSON text of."""
    ((_, values),) = domain.items()
    texts = {json.dumps(one): one for one in values}
    return texts.get(value, value) if isinstance(value, str) else value
