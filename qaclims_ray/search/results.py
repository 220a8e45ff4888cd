"""What a search found, as files for people: `<run>/search/`.

trials.parquet, trials.csv     one row per trial: its values, how far it came, its score
finalists.json                 the best trials and the configuration's own values, over seeds
best.yaml                      the winner as a complete configuration: jobs/run_all.py repeats it
seeds.json, walk.json          thresholds of seeds and masks (`tune.refine`; seeds.py, walk.py)
choosing.txt, held_out.txt     names of the images that chose, and of those that are reported
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from qaclims_ray.config.experiment import Experiment, dump
from qaclims_ray.config.overrides import Tree, flatten
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.graph import recipe
from qaclims_ray.search.holdout import HELD_OUT
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
    """The one whose mIoU on the choosing images, averaged over seeds, is highest."""
    choosing: list[float]
    """At that threshold on the images that chose."""
    held_out: list[float]
    """At that threshold on the images that nothing was chosen by."""
    diverged: list[int]
    """Seeds whose training came to no network; their mIoU is 0."""


class SeedCurves(NamedTuple):
    """mIoU of one training at each threshold."""

    choosing: list[float]
    held_out: list[float]


def search_artifact(experiment: Experiment) -> Artifact:
    """The search of a run: what it depends on, and whether it is complete."""
    tune = experiment.plain()["tune"]
    del tune["refine"]  # a search of its own
    parts = {**recipe(experiment, "scores"), **dict(flatten({"tune": tune}))}
    return Artifact("search", f"{absolute(experiment.run)}/search", parts)


def finalists(rows: Sequence[TrialRow], num_finalists: int, folder: str) -> list[Candidate]:
    """The configuration's own values, and the best trials that were trained to the end.

    Those on the front come first, then the others, each by falling score.

    Args:
        rows: All trials.
        num_finalists: How many of them at most.
        folder: Of the trials' runs.
    """
    complete = [row for row in rows if row["status"] == "complete"]
    order = sorted(complete, key=lambda row: (not row["front"], -(row["score"] or 0.0)))
    best = order[:num_finalists]
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
    """What is reported of a candidate.

    Args:
        candidate: Which.
        seeds: That it was trained with.
        curves: Of the training with each seed; None where it diverged.
        thresholds: Of the curves.
    """
    zeros = [0.0] * len(thresholds)
    scored = [one or SeedCurves(zeros, zeros) for one in curves]
    index = int(np.mean([one.choosing for one in scored], axis=0).argmax())
    return Finalist(
        name=candidate.name,
        overrides=candidate.overrides,
        seeds=list(seeds),
        threshold=thresholds[index],
        choosing=[one.choosing[index] for one in scored],
        held_out=[one.held_out[index] for one in scored],
        diverged=[seed for seed, one in zip(seeds, curves, strict=True) if one is None],
    )


def winner(found: Sequence[Finalist]) -> Finalist:
    """The finalist that the choosing images like best, averaged over seeds; the first of equals."""
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
            "metrics": list(experiment.tune.metrics),
            "thresholds": list(experiment.evaluate.thresholds),
            "importance": importance(rows, experiment.tune.space),
        },
    )
    write_bytes(f"{folder}/{BEST}", best_config(experiment, best, folder).encode())


def best_config(experiment: Experiment, best: Finalist, folder: str) -> str:
    """The winner as YAML, trained anew and scored on the held-out images by `jobs/run_all.py`."""
    own = {
        **best["overrides"],
        "name": f"{experiment.name}_best",
        "run": f"{folder}/best",
        "base": [absolute(run) for run in (experiment.run, *experiment.base)],
        "train.seed": best["seeds"][0],
        "evaluate.names": f"{folder}/{HELD_OUT}",
        "evaluate.threshold": best["threshold"],
        "tune": {},
    }
    score, seed = 100 * best["held_out"][0], best["seeds"][0]
    opening = (
        f"# The winner of the search in {folder}: {best['name']}.\n#\n"
        f"# Score     mIoU {score:.2f} on the held-out images at the fixed threshold "
        f"{best['threshold']:g}, seed {seed}\n"
        f"# Command   python jobs/run_all.py --config {folder}/{BEST}\n\n"
    )
    return opening + dump(experiment.with_overrides(own))
