"""The best trials and the configuration's own values over seeds, as Ray tasks.

All of them are trained as the trials were, then scored by tasks that take what a worker of the
training takes: nothing that trains waits for what scores, or the other way round.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from qaclims_ray.cluster.tasks import together
from qaclims_ray.cluster.training import TrialResources
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.lease import acting_for
from qaclims_ray.search.holdout import Split
from qaclims_ray.search.results import Finalist, SeedCurves, finalist, finalists
from qaclims_ray.search.rows import TrialRow
from qaclims_ray.search.trial import (
    curve,
    finalist_experiment,
    make_choosing_scorer,
    seed_experiment,
)
from qaclims_ray.search.tuner import NAME
from qaclims_ray.storage.files import read_json, write_bytes, write_json
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
    """The finalists over `tune.seeds`, on the held-out images too.

    A training that diverges counts as mIoU 0, as the settings are to blame.

    Args:
        experiment: Of the search.
        folder: Of the search.
        rows: All trials.
        names: Images that choose, and images that are held out.
        resources: Of the trials.

    Raises:
        ValueError: what else ends a training or its scores, when all others have ended.
    """
    tune = experiment.tune
    candidates = finalists(rows, tune.num_finalists, f"{folder}/{NAME}")
    trainings = {
        (candidate.name, seed): finalist_experiment(experiment, folder, candidate, seed)
        for candidate in candidates
        for seed in tune.seeds
    }
    _train_classifiers(experiment, folder, resources)
    curves = _curves(_trained(experiment, folder, trainings, resources), names, resources)
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
"""By the finalist's name and the seed."""


def _train_classifiers(experiment: Experiment, folder: str, resources: TrialResources) -> None:
    found = [seed_experiment(experiment, folder, seed) for seed in experiment.tune.seeds]
    calls = [(folder, one.plain()) for one in found]
    together(
        _train_classifier, calls, resources.own, experiment.compute.tune.max_concurrent, "seeds"
    )


def _train_classifier(job: str, plain: dict[str, Any]) -> None:
    with acting_for(job):
        train_stage.run(Experiment.model_validate(plain), "classifier")


def _trained(
    experiment: Experiment, folder: str, trainings: Trainings, resources: TrialResources
) -> Trainings:
    """The trainings, carried out, without those that diverged."""
    calls = [(folder, one.plain()) for one in trainings.values()]
    at_a_time = experiment.compute.tune.max_concurrent
    ended = together(_train_finalist, calls, resources.own, at_a_time, "finalists")
    good = {key: one for (key, one), well in zip(trainings.items(), ended, strict=True) if well}
    for name, seed in trainings.keys() - good:
        log.warning("%s diverged with seed %d, which counts as mIoU 0", name, seed)
    return good


def _train_finalist(job: str, plain: dict[str, Any]) -> bool:
    """Whether there is a network now; there never will be one of a training that diverged."""
    experiment = Experiment.model_validate(plain)
    try:
        with acting_for(job):
            train_stage.run(experiment, "cam_net", make_scorer=make_choosing_scorer)
    except DivergedError as error:
        write_bytes(f"{experiment.run}/error.txt", str(error).encode())
        return False
    return True


def _curves(
    trainings: Trainings, names: Split, resources: TrialResources
) -> dict[tuple[str, int], SeedCurves]:
    calls = [(one.plain(), *names) for one in trainings.values()]
    found = together(_score, calls, resources.worker, resources.num_workers, "scores")
    return dict(zip(trainings, found, strict=True))


def _score(plain: dict[str, Any], choosing: Sequence[str], held_out: Sequence[str]) -> SeedCurves:
    """Curves of a trained network, kept beside it."""
    experiment = Experiment.model_validate(plain)
    kept = f"{experiment.run}/{_CURVES}"
    found = read_json(kept)
    if found is None:
        found = {"choosing": curve(experiment, choosing), "held_out": curve(experiment, held_out)}
        write_json(kept, found)
    return SeedCurves(**found)
