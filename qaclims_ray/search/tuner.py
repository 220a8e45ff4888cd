"""The trials of a search under Ray Tune: which there are, and what each does.

BOHB is left out: hpbandster, which it needs, had its last release in 2018.
"""

import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.tune
import torch
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.search import Tune
from qaclims_ray.config.train import Optimiser
from qaclims_ray.run.artifact import Artifact, Built, artifact, make, own_artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lease import acting_for
from qaclims_ray.run.progress import meanwhile, watch
from qaclims_ray.search.rows import TrialRow, trial_row, with_front
from qaclims_ray.search.schedulers import Asha, Fifo, Pbt
from qaclims_ray.search.space import most_epochs, perturbed, sample
from qaclims_ray.search.trial import (
    OVERRIDES,
    epochs_done,
    score_choosing,
    scored_in,
    train_here,
    trial_experiment,
    with_own_rates,
)
from qaclims_ray.storage.files import find, write_json
from qaclims_ray.storage.filesystem import arrow_filesystem
from qaclims_ray.train import stage as train_stage
from qaclims_ray.train.loop import Place, State

NAME = "trials"
"""Folder of the trials' runs."""
_STATE = "state.pt"
_LOOK_EVERY = 1.0
"""Seconds between two looks at how far the workers of a trial are."""


def run_trials(experiment: Experiment, target: Artifact, each: dict[str, float]) -> list[TrialRow]:
    """All trials of a search; those of an interrupted one are taken up.

    Trials that ended are kept, others go on from their last checkpoint, under what `compute.tune`
    says today.

    Args:
        experiment: Of the search.
        target: Whose folder the trials' runs go to.
        each: Resources of a trial's process.
    """
    runs = f"{target.uri}/{NAME}"
    total = experiment.tune.num_trials * experiment.train.ritc.epochs
    with watch("trials", partial(epochs_done, runs), total, unit="epoch"):
        results = ray.tune.ResultGrid(_run(experiment, target, each))
    return with_front(
        [
            trial_row(
                experiment,
                f"{runs}/{Path(result.path).name}",
                None if result.error is None else str(result.error),
                (result.metrics or {}).get("time_total_s"),
            )
            for result in results
        ]
    )


def _run(
    experiment: Experiment, target: Artifact, each: dict[str, float]
) -> ray.tune.ExperimentAnalysis:
    # Not by a Tuner: restored, it takes nothing but the settings that it was made with.
    filesystem, path = arrow_filesystem(f"{target.work}/tune")
    trial = partial(_trial, experiment.plain(), target.uri)
    tune, compute = experiment.tune, experiment.compute.tune
    learns = tune.searcher == "optuna"
    # Under pbt, others may go on from any checkpoint.
    num_kept = None if tune.scheduler == "pbt" else 2
    return ray.tune.run(
        ray.tune.with_resources(trial, each),
        name=NAME,
        resume=bool(find(f"{target.work}/tune/{NAME}/experiment_state-*.json")),
        config=_param_space(tune),
        search_alg=_optuna(tune) if learns else None,
        num_samples=tune.num_trials if learns else 1,
        scheduler=_scheduler(experiment),
        max_concurrent_trials=compute.max_concurrent,
        time_budget_s=compute.max_seconds,
        max_failures=compute.max_failures,
        raise_on_failed_trial=False,
        checkpoint_config=ray.tune.CheckpointConfig(num_kept),
        storage_path=path,
        storage_filesystem=filesystem,
        # Saves the start of a process and all its imports for each trial but the first ones.
        reuse_actors=experiment.compute.train.num_workers == 0,
        trial_dirname_creator=lambda trial: _trial_name(trial.trial_id),
        callbacks=[JsonLoggerCallback()],
        verbose=0,
    )


def _param_space(tune: Tune) -> dict[str, Any]:
    """The values of all trials where they are drawn beforehand, else what to draw them from."""
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


def _optuna(tune: Tune) -> OptunaSearch:
    if len(tune.metrics) == 1:
        return OptunaSearch(metric=tune.metrics[0], mode="max", seed=tune.seed)
    modes = ["max"] * len(tune.metrics)
    return OptunaSearch(metric=list(tune.metrics), mode=modes, seed=tune.seed)


def _scheduler(experiment: Experiment) -> TrialScheduler:
    tune, limits = experiment.tune, experiment.compute.tune
    if tune.scheduler == "asha":
        return Asha(
            limits,
            time_attr="epoch",
            metric=tune.metrics[0],
            mode="max",
            max_t=most_epochs(experiment),
            grace_period=tune.grace_epochs,
            reduction_factor=tune.reduction_factor,
        )
    if tune.scheduler == "pbt":
        rng = np.random.default_rng(tune.seed)
        return Pbt(
            limits,
            time_attr="epoch",
            metric=tune.metrics[0],
            mode="max",
            perturbation_interval=tune.grace_epochs,
            custom_explore_fn=lambda config: {
                "overrides": perturbed(tune.space, config["overrides"], rng)
            },
        )
    return Fifo(limits)


def _trial_name(trial_id: str) -> str:
    return f"trial_{trial_id.rsplit('_', 1)[-1]}"


def _trial(plain: dict[str, Any], folder: str, config: dict[str, Any]) -> None:
    """One trial, in a process of Tune's."""
    search, overrides = Experiment.model_validate(plain), config["overrides"]
    run = f"{folder}/{NAME}/{_trial_name(ray.tune.get_context().get_trial_id())}"
    write_json(f"{run}/{OVERRIDES}", overrides)
    experiment = trial_experiment(search, run, overrides)
    report = partial(_report, search.tune.metrics)
    if search.tune.scheduler == "pbt":
        # Such a network follows from no configuration: it is not marked as that of one.
        train_here(experiment, _place(experiment, report, None))
        return
    with acting_for(folder):
        _train(experiment, report)


def _train(experiment: Experiment, report: Callable[..., None]) -> None:
    num_epochs = experiment.train.ritc.epochs
    if experiment.compute.train.num_workers:
        with _reporting(experiment, report):
            train_stage.run(experiment, "cam_net", validate=score_choosing)
    else:
        place = _place(experiment, report, num_epochs)
        make(experiment, "cam_net", partial(_train_here, experiment, place), overwrite=False)
    # The last epoch is reported when the network is there, as a scheduler may end the trial then.
    report(num_epochs, scored_in(own_artifact(experiment, "cam_net").uri)[-1])


def _place(experiment: Experiment, report: Callable[..., None], last: int | None) -> Place:
    load = partial(_load, experiment.train.ritc.optimiser)
    return Place(load=load, save=partial(_save, report, last))


def _train_here(experiment: Experiment, place: Place, target: Artifact) -> Built:
    num_images = train_here(experiment, place)
    names = list(class_names(artifact(experiment, "images")))
    return Built(experiment.train.ritc.epochs * num_images, 0, {"class_names": names})


def _report(
    metrics: Sequence[str], epoch: int, scores: Mapping[str, float], checkpoint: Any | None = None
) -> None:
    found = {metric: scores[metric] for metric in metrics}
    ray.tune.report({"epoch": epoch, **found}, checkpoint=checkpoint)


def _save(
    report: Callable[..., None], last: int | None, state: State, scores: Mapping[str, float]
) -> None:
    """Report an epoch together with the state after it, unless it is the last."""
    epoch = len(state["scores"])
    if "miou" not in scores or epoch == last:
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder, _STATE))
        report(epoch, scores, ray.tune.Checkpoint.from_directory(folder))


def _load(optimiser: Optimiser) -> State | None:
    """The state that this trial goes on from: its own, or a better one's."""
    checkpoint = ray.tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, _STATE), map_location="cpu", weights_only=True)
    return with_own_rates(state, optimiser)


@contextmanager
def _reporting(experiment: Experiment, report: Callable[..., None]) -> Generator[None]:
    """Report each epoch but the last as the workers of Ray Train score it."""
    network, last = own_artifact(experiment, "cam_net").uri, experiment.train.ritc.epochs

    def follow(done: threading.Event) -> None:
        reported = 0
        while not done.wait(_LOOK_EVERY):
            for scores in scored_in(network)[reported : last - 1]:
                reported += 1
                report(reported, scores)

    with meanwhile(follow):
        yield
