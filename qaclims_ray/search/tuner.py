"""The trials of a search under Ray Tune: which there are, and what each does.

A search that is taken up is a new run of Tune over the same trials. Each of them first reports the
epochs that it scored before, from which searcher and scheduler learn again what they knew, then
goes on from its last state; one whose network is complete trains nothing. So the limits of
`compute.tune` are those of today, and Tune restores nothing.

BOHB is left out: hpbandster, which it needs, had its last release in 2018.
"""

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune.experiment import Trial
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.search import Tune
from qaclims_ray.run.artifact import COMPLETE, Artifact, own_artifact
from qaclims_ray.run.lease import on_behalf_of
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.progress import watch
from qaclims_ray.search.epochs import Epochs, epochs_done, now_and_then
from qaclims_ray.search.rows import TrialRow, trial_row
from qaclims_ray.search.space import most_epochs, sample
from qaclims_ray.search.trial import (
    OVERRIDES,
    TrialCheckpointer,
    begun_trials,
    make_selection_scorer,
    trial_experiment,
)
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.filesystem import arrow_filesystem
from qaclims_ray.storage.listing import find
from qaclims_ray.train import stage as train_stage
from qaclims_ray.train.cache import plan
from qaclims_ray.train.loggers import search_callbacks
from qaclims_ray.train.loop import train_here

NAME = "trials"
"""Folder of the trials' runs."""
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError: .*memory|low on memory|OOM killer|can't allocate memory"
)
"""What Ray says of a process that it killed, or the kernel did."""
log = logging.getLogger(__name__)


def run_trials(experiment: Experiment, target: Artifact, each: dict[str, float]) -> list[TrialRow]:
    """Run all trials of a search, those of an interrupted one from where they were.

    Args:
        experiment: Experiment of the search.
        target: Artifact whose folder the trials' runs go to.
        each: Resources of a trial's process.

    Returns:
        A row for each trial that was begun, in the order of their names.

    Raises:
        ValueError: Tune ended before all of them had begun, and their time was not up.
    """
    runs = f"{target.uri}/{NAME}"
    total = experiment.tune.num_trials * experiment.train.ritc.epochs
    with watch("trials", partial(epochs_done, runs), total, unit="epoch"):
        errors = _run_with_fewer(experiment, target, each)
    # Not all that were begun earlier have results, if the time was up before.
    names = errors.keys() | begun_trials(runs).keys()
    if len(names) < experiment.tune.num_trials and experiment.compute.tune.max_seconds is None:
        raise ValueError(
            f"the search ended after {len(names)} of {experiment.tune.num_trials} trials: the same "
            "command goes on"
        )
    rows = [(f"{runs}/{name}", errors.get(name)) for name in sorted(names)]
    return [
        trial_row(experiment, run, None if error is None else str(error)) for run, error in rows
    ]


def _run_with_fewer(
    experiment: Experiment, target: Artifact, each: dict[str, float]
) -> dict[str, Exception | None]:
    """Run the trials, those that were killed for memory again with fewer at a time.

    Returns:
        By the name of each trial its error, or None.
    """
    limits, begun = experiment.compute.tune, time.monotonic()
    at_a_time, seconds = limits.max_concurrent, limits.max_seconds
    while True:
        own = {"max_concurrent": at_a_time, "max_seconds": seconds}
        today = {f"compute.tune.{key}": value for key, value in own.items()}
        errors = _errors(experiment.with_overrides(today), target, each)
        starved = [name for name, error in errors.items() if lacked_memory(error)]
        if not starved or at_a_time == 1:
            return errors
        at_a_time //= 2
        if limits.max_seconds is not None:
            seconds = max(1.0, limits.max_seconds - (time.monotonic() - begun))
        log.warning(
            "%d of %d trials were killed for lack of memory: they go on, %d at a time "
            "(compute.tune.max_concurrent)",
            *(len(starved), len(errors), at_a_time),
        )


def _errors(
    experiment: Experiment, target: Artifact, each: dict[str, float]
) -> dict[str, Exception | None]:
    """Run the trials; return the error of each, or None, by its name."""
    try:
        results = _fit(experiment, target, each)
    except RuntimeError as error:
        # A process that Ray itself ends for lack of memory breaks off all of Tune (2.60).
        if not lacked_memory(error):
            raise
        runs = f"{target.uri}/{NAME}"
        ended = {uri.split("/")[-3] for uri in find(f"{runs}/*/cam_net/{COMPLETE}")}
        return {name: None if name in ended else error for name in begun_trials(runs)}
    return {Path(result.path).name: result.error for result in results}


def lacked_memory(error: Exception | None) -> bool:
    """Tell whether a trial's error says that its process was killed for lack of memory."""
    return error is not None and bool(_OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"))


def _fit(experiment: Experiment, target: Artifact, each: dict[str, float]) -> ray.tune.ResultGrid:
    filesystem, path = arrow_filesystem(f"{target.work}/tune")
    tune, limits = experiment.tune, experiment.compute.tune
    learns = tune.searcher == "optuna"
    begun = begun_trials(f"{target.uri}/{NAME}") if learns else {}
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(partial(_trial, experiment, target.uri), each),
        param_space=_param_space(tune),
        tune_config=ray.tune.TuneConfig(
            search_alg=_optuna(tune, list(begun.values())) if learns else None,
            scheduler=_asha(experiment) if tune.scheduler == "asha" else None,
            num_samples=tune.num_trials if learns else 1,
            max_concurrent_trials=limits.max_concurrent,
            time_budget_s=limits.max_seconds,
            # Saves the start of a process and all its imports for each trial but the first ones.
            reuse_actors=experiment.compute.train.num_workers == 0,
            trial_dirname_creator=Names(begun, tune.num_trials),
        ),
        run_config=ray.tune.RunConfig(
            name=f"session_{len(find(f'{target.work}/tune/*')):03d}",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.tune.FailureConfig(max_failures=limits.max_failures),
            callbacks=[JsonLoggerCallback(), *search_callbacks(experiment)],
            verbose=0,
        ),
    )
    return tuner.fit()


class Names:
    """Names Tune's trials in the order that it makes them: those begun earlier, then the others."""

    def __init__(self, begun: Collection[str], num_trials: int) -> None:
        """Give away the names of the trials begun earlier, then those of `num_trials` others."""
        numbered = [f"trial_{number:05d}" for number in range(num_trials)]
        self._names = [*begun, *(name for name in numbered if name not in begun)]
        self._given: dict[str, str] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Names":
        # Tune copies its settings for each trial, which must not get the first name again.
        return self

    def __call__(self, trial: Trial) -> str:
        """Return the name of a trial, the next one if it has none yet."""
        if trial.trial_id not in self._given:
            self._given[trial.trial_id] = self._names[len(self._given)]
        return self._given[trial.trial_id]


def _param_space(tune: Tune) -> dict[str, Any]:
    """Draw the values of all trials, or say what Optuna draws them from."""
    if tune.searcher == "random":
        return {"overrides": ray.tune.grid_search(sample(tune))}
    draw: dict[str, Callable[..., Any]] = {
        "uniform": ray.tune.uniform,
        "log_uniform": ray.tune.loguniform,
        "int": lambda low, high: ray.tune.randint(low, high + 1),
        "choice": lambda *values: ray.tune.choice(values),
    }
    domains = {key: next(iter(domain.items())) for key, domain in tune.space.items()}
    return {"overrides": {key: draw[kind](*values) for key, (kind, values) in domains.items()}}


def _optuna(tune: Tune, begun: Sequence[Tree]) -> OptunaSearch:
    """Make Optuna's TPE, which proposes the trials that were begun earlier first."""
    points = [{f"overrides/{key}": one[key] for key in tune.space} for one in begun]
    # With the same seed, it would propose their values a second time.
    seed = tune.seed + len(points)
    return OptunaSearch(
        metric=tune.metric, mode="max", points_to_evaluate=points or None, seed=seed
    )


def _asha(experiment: Experiment) -> ASHAScheduler:
    tune = experiment.tune
    return ASHAScheduler(
        time_attr="epoch",
        metric=tune.metric,
        mode="max",
        max_t=most_epochs(experiment),
        grace_period=tune.grace_epochs,
        reduction_factor=tune.reduction_factor,
    )


def _trial(search: Experiment, folder: str, config: Mapping[str, Tree]) -> None:
    """Train one trial in a process of Tune's."""
    overrides = config["overrides"]
    run = f"{folder}/{NAME}/{Path(ray.tune.get_context().get_trial_dir()).name}"
    write_json(f"{run}/{OVERRIDES}", overrides)
    experiment = trial_experiment(search, run, overrides)
    uri = own_artifact(experiment, "cam_net").uri
    epochs = Epochs(uri, search.tune.metric, ray.tune.report)
    num_epochs = experiment.train.ritc.epochs
    # The last epoch is reported when the network is there, as a scheduler may end the trial then.
    report = partial(epochs.report, num_epochs - 1)
    report()
    with on_behalf_of(folder):
        if experiment.compute.train.num_workers:
            with now_and_then(report):
                train_stage.run(experiment, "cam_net", make_scorer=make_selection_scorer)
        else:
            build = partial(_train_here, experiment, report)
            make(experiment, "cam_net", build, overwrite=False)
    epochs.report(num_epochs)


def _train_here(experiment: Experiment, report: Callable[[], None], target: Artifact) -> Built:
    learnt = plan(experiment, "cam_net")
    checkpointer = TrialCheckpointer(target, report)
    train_here(experiment, "cam_net", learnt, checkpointer, make_selection_scorer)
    num_images = experiment.train.ritc.epochs * learnt.found.num_images
    return Built(num_images, 0, {"class_names": list(learnt.class_names)})
