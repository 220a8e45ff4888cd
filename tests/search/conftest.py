"""Searches upon the demo run, and one of twelve trials that nobody ran."""

import time

import pytest

from qaclims_ray.run.lease import OWNER
from qaclims_ray.search.space import sample
from qaclims_ray.storage.files import write_json

SPACE = {
    "train.ritc.loss.foreground": {"log_uniform": (1, 30)},
    "cams.scales": {"choice": ([1.0], [1.0, 1.5])},
}


@pytest.fixture(scope="session")
def upon_demo(demo_run):
    """Makes an experiment with a run of its own, which finds in the demo run what that has."""

    def make(run, overrides=None):
        own = {"run": str(run), "base": [demo_run.run]}
        return demo_run.with_overrides({**own, **(overrides or {})})

    return make


@pytest.fixture(scope="session")
def claim():
    """Leaves in an artifact's folder what a process leaves behind whose node was lost."""

    def leave(folder, job, host="elsewhere"):
        owner = {"host": host, "pid": 1, "alive": time.time(), "job": job}
        write_json(f"{folder}/{OWNER}", owner)

    return leave


@pytest.fixture
def space():
    return dict(SPACE)


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(tmp_path / "run", {"tune.space": SPACE, "tune.num_trials": 12})


@pytest.fixture
def rows(experiment):
    """Trials whose score is the weight they drew; the last one failed."""
    found = []
    for number, overrides in enumerate(sample(experiment.tune)):
        score = overrides["train.ritc.loss.foreground"] / 30
        row = {"trial": f"trial_{number:02d}", "status": "complete", "epochs": 2, "score": score}
        row |= {"threshold": 0.3, "seconds": 1.5, "overrides": overrides, "error": None}
        found.append({**row, "scores": [score / 2, score], "curve": [score] * 5})
    found[-1] |= {"status": "failed", "score": None, "threshold": None, "seconds": None}
    found[-1] |= {"epochs": 0, "scores": [], "curve": [], "error": "Traceback: no"}
    return found
