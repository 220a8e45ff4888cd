"""What a search found, as files for people: `<run>/search/`.

trials.parquet, trials.csv     one row per trial: its values, how far it came, its score
finalists.json                 the best trials and the configuration's own values, over seeds
best.yaml                      the winner as a complete configuration: `qaclims run` repeats it
seeds.json, masks.json         thresholds of seeds and masks (`tune.refine`; thresholds.py)
choosing.txt, held_out.txt     names of the selection images, and of the report images
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.config.overrides import Tree, flatten
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.recipe import recipe
from qaclims_ray.search.holdout import REPORT
from qaclims_ray.search.importance import importance
from qaclims_ray.search.rows import TrialRow, write_trials
from qaclims_ray.search.trial import Candidate
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.storage.paths import absolute

FINALISTS = "finalists.json"
BEST = "best.yaml"
DEFAULT = "default"
"""The finalist that has the configuration's own values."""


class Finalist(TypedDict):
    """A configuration over seeds; mIoU in [0, 1], a value for each of `seeds`."""

    name: str
    overrides: Tree
    seeds: list[int]
    threshold: float
    """Threshold with the highest mIoU on the selection images, averaged over seeds."""
    choosing: list[float]
    """mIoU at that threshold on the selection images."""
    held_out: list[float]
    """mIoU at that threshold on the report images."""
    diverged: list[int]
    """Seeds whose training diverged; their mIoU is 0."""


class Found(TypedDict):
    """Content of `finalists.json`."""

    winner: str
    finalists: list[Finalist]
    space: dict[str, Any]
    metrics: list[str]
    thresholds: list[float]
    importance: dict[str, float] | None


class SeedCurves(NamedTuple):
    """mIoU of one training at each threshold."""

    selection: list[float]
    """mIoU on the selection images."""
    report: list[float]
    """mIoU on the report images."""


def search_artifact(experiment: Experiment) -> Artifact:
    """Make the artifact of a search, whose recipe is that of the scores and the section `tune`."""
    tune = experiment.plain()["tune"]
    del tune["refine"]  # a search of its own
    parts = {**recipe(experiment, "scores"), **dict(flatten({"tune": tune}))}
    return Artifact("search", f"{absolute(experiment.run)}/search", parts)


def finalists(rows: Sequence[TrialRow], num_finalists: int, folder: str) -> list[Candidate]:
    """Choose what is compared: the configuration's own values, then the best complete trials.

    Args:
        rows: All trials.
        num_finalists: Number of trials that are chosen at most.
        folder: Folder of the trials' runs.
    """
    complete = [row for row in rows if row["status"] == "complete"]
    best = sorted(complete, key=lambda row: -(row["score"] or 0.0))[:num_finalists]
    return [
        Candidate(DEFAULT, {}),
        *(Candidate(row["trial"], row["overrides"], (f"{folder}/{row['trial']}",)) for row in best),
    ]


def finalist(
    candidate: Candidate,
    seeds: Sequence[int],
    curves: Sequence[SeedCurves | None],
    thresholds: Sequence[float],
) -> Finalist:
    """Choose the threshold of a candidate on the selection images, and read its scores off there.

    Args:
        candidate: The candidate.
        seeds: Seeds that it was trained with.
        curves: Curves of the training with each seed; None where it diverged.
        thresholds: Thresholds of the curves.
    """
    zeros = [0.0] * len(thresholds)
    scored = [one or SeedCurves(zeros, zeros) for one in curves]
    index = int(np.mean([one.selection for one in scored], axis=0).argmax())
    return Finalist(
        name=candidate.name,
        overrides=candidate.overrides,
        seeds=list(seeds),
        threshold=thresholds[index],
        choosing=[one.selection[index] for one in scored],
        held_out=[one.report[index] for one in scored],
        diverged=[seed for seed, one in zip(seeds, curves, strict=True) if one is None],
    )


def winner(found: Sequence[Finalist]) -> Finalist:
    """Return the finalist of the highest mean mIoU on the selection images; the first of equals."""
    return max(found, key=lambda one: float(np.mean(one["choosing"])))


def write_results(
    experiment: Experiment, rows: Sequence[TrialRow], found: Sequence[Finalist], folder: str
) -> None:
    """Write the table, the finalists and the best configuration into `<run>/search/`."""
    write_trials(rows, experiment, folder)
    best = winner(found)
    write_json(
        f"{folder}/{FINALISTS}",
        {
            "winner": best["name"],
            "finalists": found,
            "space": experiment.tune.space,
            "metrics": [experiment.tune.metric],  # a list, as files of before hold several
            "thresholds": list(experiment.evaluate.thresholds),
            "importance": importance(rows, experiment.tune.space),
        },
    )
    write_bytes(f"{folder}/{BEST}", best_config(experiment, best, folder).encode())


def best_config(experiment: Experiment, best: Finalist, folder: str) -> str:
    """Write the winner as YAML, for `qaclims run` to train and score on the report images."""
    own = {
        **best["overrides"],
        "name": f"{experiment.name}_best",
        "run": f"{folder}/best",
        "base": [absolute(run) for run in (experiment.run, *experiment.base)],
        "train.seed": best["seeds"][0],
        "evaluate.names": f"{folder}/{REPORT}",
        "evaluate.threshold": best["threshold"],
        "tune": {},
    }
    score, seed = 100 * best["held_out"][0], best["seeds"][0]
    opening = (
        f"# The winner of the search in {folder}: {best['name']}.\n#\n"
        f"# Score     mIoU {score:.2f} on the held-out images at the fixed threshold "
        f"{best['threshold']:g}, seed {seed}\n"
        f"# Command   qaclims run --config {folder}/{BEST}\n\n"
    )
    return opening + dump(experiment.with_overrides(own))
