"""The table of a search: one row per trial, read from its run, written and read again."""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, cast

import pyarrow as pa
from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.search import Domain
from qaclims_ray.run.artifact import COMPLETE
from qaclims_ray.search.epochs import scored_in
from qaclims_ray.search.space import Space
from qaclims_ray.search.trial import CURVE, OVERRIDES
from qaclims_ray.storage.csv import csv_lines
from qaclims_ray.storage.files import write_bytes
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.storage.records import read_record

TRIALS = "trials.parquet"
_FIXED = {
    "trial": pa.string(),
    "status": pa.string(),
    "epochs": pa.int64(),
    "score": pa.float64(),
    "threshold": pa.float64(),
    "seconds": pa.float64(),
}
"""Columns before those of the searched keys."""


class _Seconds(TypedDict):
    """The part of a manifest that is shown."""

    seconds: float


class TrialRow(TypedDict):
    """One trial of a search."""

    trial: str
    """Name of its run below `search/trials`."""
    status: Literal["complete", "stopped", "failed"]
    epochs: int
    score: float | None
    """`tune.metric` after the last epoch, on the selection images; null for a trial that failed
    before."""
    threshold: float | None
    """The best one for mIoU on the selection images."""
    seconds: float | None
    """Time that the training took, since it last went on from a checkpoint; null where it did not
    come to its end."""
    overrides: Tree
    scores: list[float]
    """`tune.metric` after each epoch."""
    curve: list[float]
    """mIoU at each threshold after the last epoch."""
    error: str | None
    """Traceback of a failed trial."""


def trial_row(experiment: Experiment, run: str, error: str | None) -> TrialRow:
    """Read the row of a trial from the files in its run.

    Args:
        experiment: Experiment of the search.
        run: Run of the trial.
        error: Reason for which it failed, if it did.
    """
    overrides = read_record(f"{run}/{OVERRIDES}", Tree) or {}
    manifest = read_record(f"{run}/cam_net/{COMPLETE}", _Seconds)
    epochs, metric = scored_in(f"{run}/cam_net"), experiment.tune.metric
    done = manifest is not None and error is None
    return TrialRow(
        trial=run.rsplit("/", 1)[-1],
        status="complete" if done else "failed" if error else "stopped",
        epochs=len(epochs),
        score=epochs[-1][metric] if epochs else None,
        threshold=epochs[-1]["threshold"] if epochs else None,
        seconds=manifest["seconds"] if manifest and not error else None,
        overrides=overrides,
        scores=[epoch[metric] for epoch in epochs],
        curve=read_record(f"{run}/{CURVE}", list[float]) or [],
        error=None if error is None else re.sub("\x1b\\[[0-9;]*m", "", error),
    )


def write_trials(rows: Sequence[TrialRow], experiment: Experiment, folder: str) -> None:
    """Write `trials.parquet`, and `trials.csv` without the curves."""
    table = trials_table(rows, experiment.tune.space)
    write_parquet(table, f"{folder}/{TRIALS}")
    write_bytes(f"{folder}/trials.csv", csv_lines(table.drop_columns(["scores", "curve"])))


def trials_table(rows: Sequence[TrialRow], space: Space) -> pa.Table:
    """Make a table of trials; each searched key is a column, `scores` and `curve` are lists."""
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _FIXED.items()}
    for key, domain in space.items():
        columns[key] = _column([row["overrides"].get(key) for row in rows], domain)
    lists = pa.list_(pa.float64())
    columns["scores"] = pa.array([row["scores"] for row in rows], lists)
    columns["curve"] = pa.array([row["curve"] for row in rows], lists)
    columns["error"] = pa.array([row["error"] for row in rows], pa.string())
    return pa.table(columns)


def read_trials(folder: str, space: Space) -> list[TrialRow]:
    """Read the rows that `write_trials` wrote, of a search with this space."""
    rows = read_parquet(f"{folder}/{TRIALS}", trials_table([], space).schema).to_pylist()
    for row in rows:
        row["overrides"] = {key: _decoded(row.pop(key), space[key]) for key in space}
    return cast(list[TrialRow], rows)


_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def _column(values: Sequence[Any], domain: Domain) -> pa.Array:
    """Make a column of the one type that a domain's values have, or of their JSON texts."""
    ((kind, legal),) = domain.items()
    kinds = {float if "uniform" in kind else type(one) for one in legal if one is not None}
    if len(kinds) == 1 and kinds <= _TYPES.keys():
        return pa.array(values, _TYPES[kinds.pop()])
    return pa.array([json.dumps(value) for value in values], pa.string())


def _decoded(value: Any, domain: Domain) -> Any:
    """Find the value of a domain that `_column` made a JSON text of."""
    ((_, values),) = domain.items()
    texts = {json.dumps(one): one for one in values}
    return texts.get(value, value) if isinstance(value, str) else value
