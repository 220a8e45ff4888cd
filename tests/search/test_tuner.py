import os
import signal
from copy import deepcopy
from typing import ClassVar

import pytest
import ray.tune
from ray.exceptions import ActorDiedError
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.tune.experiment import Trial
from ray.tune.logger import JsonLoggerCallback

from qaclims_ray.search import tuner as stage
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.results import search_artifact
from qaclims_ray.search.tuner import Names, lacked_memory, run_trials

EACH = {"CPU": 1.0, "GPU": 0.0}


@pytest.fixture
def search(upon_demo, tmp_path):
    """A search of one trial."""
    own = {
        "tune.space": {"train.ritc.loss.area": {"uniform": [0.1, 0.2]}},
        "tune.num_trials": 1,
        "compute.tune.max_failures": 0,
    }
    return upon_demo(tmp_path, own)


def test_a_trial_whose_node_was_lost_goes_on_at_once(search, claim):
    target = search_artifact(search)
    claim(f"{target.uri}/trials/trial_00000/cam_net", target.uri)
    write_names(search, target.uri)
    (row,) = run_trials(search, target, EACH)
    assert (row["status"], row["error"]) == ("complete", None)


def test_trials_begun_earlier_keep_their_names():
    names = Names(["trial_00000", "trial_00002"], 4)
    trials = [Trial("trial", trial_id=one, stub=True) for one in ("a", "b", "a", "c")]
    found = [deepcopy(names)(one) for one in trials]
    assert found == ["trial_00000", "trial_00002", "trial_00000", "trial_00001"]


class Watch(JsonLoggerCallback):
    """What runs or is about to, at a time, and with which limits."""

    peak = 0
    failures: ClassVar[set[int]] = set()
    cpus: ClassVar[set[float]] = set()

    def on_step_end(self, iteration, trials, **info):
        busy = [trial for trial in trials if trial.status in (trial.PENDING, trial.RUNNING)]
        Watch.peak = max(Watch.peak, len(busy))
        Watch.failures.update(trial.max_failures for trial in trials)
        Watch.cpus.update(t.placement_group_factory.required_resources["CPU"] for t in busy)


class Interrupt(JsonLoggerCallback):
    """Ends the driver when two trials have reported."""

    def on_step_begin(self, iteration, trials, **info):
        if sum(trial.status == trial.RUNNING and bool(trial.last_result) for trial in trials) > 1:
            raise RuntimeError("interrupted")


@pytest.mark.parametrize(
    ("searcher", "scheduler"),
    [("random", "none"), pytest.param("optuna", "asha", marks=pytest.mark.slow)],
)
def test_a_search_that_is_taken_up_obeys_what_is_said_today(
    search, monkeypatch, searcher, scheduler
):
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0")
    target = search_artifact(search)
    write_names(search, target.uri)
    before = {
        "tune.num_trials": 4,
        "tune.searcher": searcher,
        "tune.scheduler": scheduler,
        "tune.grace_epochs": 3,
        "train.ritc.epochs": 3,
        "compute.tune.max_concurrent": 3,
        "compute.tune.max_seconds": 900,
    }
    search = search.with_overrides(before)
    monkeypatch.setattr(stage, "JsonLoggerCallback", Interrupt)
    with pytest.raises(RuntimeError, match="interrupted"):
        run_trials(search, target, EACH)
    monkeypatch.setattr(stage, "JsonLoggerCallback", Watch)
    Watch.peak, Watch.failures, Watch.cpus = 0, set(), set()
    today = {"max_concurrent": 1, "max_failures": 3, "max_seconds": 800}
    search = search.with_overrides({f"compute.tune.{key}": one for key, one in today.items()})
    rows = run_trials(search, target, {"CPU": 2.0, "GPU": 0.0})
    assert [row["status"] for row in rows] == ["complete"] * 4
    assert (Watch.peak, Watch.failures, Watch.cpus) == (1, {3}, {2.0})


@pytest.mark.parametrize(
    ("error", "lacked"),
    [
        (None, False),
        (ValueError("the loss is not finite"), False),
        (ActorDiedError(), False),
        (RayOutOfMemoryError("Task was killed due to the node running low on memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("torch.OutOfMemoryError: CUDA out of memory."), True),
        (RuntimeError("(1) The process is killed by SIGKILL by OOM killer due to"), True),
    ],
)
def test_what_was_killed_for_memory_is_told_from_other_failures(error, lacked):
    assert lacked_memory(error) is lacked


def test_trials_killed_for_memory_go_on_with_fewer_at_a_time(
    local_ray, make_experiment, tmp_path, monkeypatch, caplog
):
    own = {
        "tune.space": {"train.ritc.loss.area": {"uniform": [0.1, 0.2]}},
        "tune.num_trials": 2,
        "compute.tune": {"max_failures": 0, "max_concurrent": 2, "num_cpus": 1},
    }
    search, killed = make_experiment(tmp_path / "run", own), tmp_path / "killed"
    limits = []

    def trial(search, folder, config):
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        ray.tune.report({"epoch": 1, "miou": 0.5})

    fit = stage._fit

    def watched(experiment, *arguments):
        limits.append(experiment.compute.tune.max_concurrent)
        return fit(experiment, *arguments)

    monkeypatch.setattr(stage, "_trial", trial)
    monkeypatch.setattr(stage, "_fit", watched)
    errors = stage._run_with_fewer(search, search_artifact(search), EACH)
    assert errors == {"trial_00000": None, "trial_00001": None}
    assert limits == [2, 1]
    assert "killed for lack of memory: they go on, 1 at a time" in caplog.text
