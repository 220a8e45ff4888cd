"""The best trials and the configuration's own values, trained and scored over seeds as Ray tasks.

All are trained as the trials were, then scored by tasks with the resources of a training worker, so
that trainings and scores never wait for each other.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from qaclims_ray.cluster.tasks import together
from qaclims_ray.cluster.training import TrialResources
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.lease import on_behalf_of
from qaclims_ray.search.holdout import Split
from qaclims_ray.search.results import Finalist, SeedCurves, finalist, finalists
from qaclims_ray.search.rows import TrialRow
from qaclims_ray.search.trial import (
    curve,
    finalist_experiment,
    make_selection_scorer,
    seed_experiment,
)
from qaclims_ray.search.tuner import NAME
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.storage.records import read_record
from qaclims_ray.train import stage as train_stage
from qaclims_ray.train.faults import DivergedError

log = logging.getLogger(__name__)

_CURVES = "curves.json"


def compare(
    experiment: Experiment,
    folder: str,
    rows: Sequence[TrialRow],
    names: Split,
    resources: TrialResources,
) -> list[Finalist]:
    """Train the finalists with each of `tune.seeds`, and score them on both splits.

    A training that diverges counts as mIoU 0, as the settings are to blame.

    Args:
        experiment: Experiment of the search.
        folder: Folder of the search.
        rows: All trials.
        names: Names of the images of both splits.
        resources: Resources of a trial.

    Raises:
        ValueError: a training or its scores failed for another reason; all others have ended.
    """
    tune = experiment.tune
    candidates = finalists(rows, tune.num_finalists, f"{folder}/{NAME}")
    trainings = {
        (candidate.name, seed): finalist_experiment(experiment, folder, candidate, seed)
        for candidate in candidates
        for seed in tune.seeds
    }
    at_a_time = experiment.compute.tune.max_concurrent
    calls = [(folder, seed_experiment(experiment, folder, seed)) for seed in tune.seeds]
    together(_train_classifier, calls, resources.own, at_a_time, "seeds")
    trained = _trained(experiment, folder, trainings, resources)
    scored = [(one, *names) for one in trained.values()]
    found = together(_score, scored, resources.worker, resources.num_workers, "scores")
    curves = dict(zip(trained, found, strict=True))
    return [
        finalist(
            candidate,
            tune.seeds,
            [curves.get((candidate.name, seed)) for seed in tune.seeds],
            experiment.evaluate.thresholds,
        )
        for candidate in candidates
    ]


Trainings = Mapping[tuple[str, int], Experiment]
"""Experiments by the finalist's name and the seed."""


def _train_classifier(job: str, experiment: Experiment) -> None:
    with on_behalf_of(job):
        train_stage.run(experiment, "classifier")


def _trained(
    experiment: Experiment, folder: str, trainings: Trainings, resources: TrialResources
) -> Trainings:
    """Train, and return the trainings that did not diverge."""
    calls = [(folder, one) for one in trainings.values()]
    at_a_time = experiment.compute.tune.max_concurrent
    ended = together(_train_finalist, calls, resources.own, at_a_time, "finalists")
    good = {key: one for (key, one), well in zip(trainings.items(), ended, strict=True) if well}
    for name, seed in trainings.keys() - good:
        log.warning("%s diverged with seed %d, which counts as mIoU 0", name, seed)
    return good


def _train_finalist(job: str, experiment: Experiment) -> bool:
    """Train a network; return False if the training diverged, as it would again."""
    try:
        with on_behalf_of(job):
            train_stage.run(experiment, "cam_net", make_scorer=make_selection_scorer)
    except DivergedError as error:
        write_bytes(f"{experiment.run}/error.txt", str(error).encode())
        return False
    return True


def _score(experiment: Experiment, selection: Iterable[str], report: Iterable[str]) -> SeedCurves:
    """Score a trained network on both splits; its curves are kept beside it."""
    kept = f"{experiment.run}/{_CURVES}"
    found = read_record(kept, dict[str, list[float]])
    if found is None or not {"choosing", "held_out"} <= found.keys():
        found = {"choosing": curve(experiment, selection), "held_out": curve(experiment, report)}
        write_json(kept, found)
    return SeedCurves(found["choosing"], found["held_out"])
