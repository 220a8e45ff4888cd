import socket
import time

import pytest

from qaclims_ray.cluster.training import trial_resources
from qaclims_ray.search import finalists as stage
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.results import SeedCurves, search_artifact
from qaclims_ray.search.trial import Candidate, finalist_experiment
from qaclims_ray.storage.files import read_json
from qaclims_ray.train.loop import DivergedError


@pytest.fixture
def search(upon_demo, tmp_path):
    """A search whose only finalist, with the only seed, is the configuration's own values."""
    # Of the demo run's network, nothing is to be had for these.
    return upon_demo(tmp_path, {"tune.seeds": [0], "train.ritc.loss.area": 0.3})


@pytest.fixture
def folder(search):
    return search_artifact(search).uri


@pytest.fixture
def training(search, folder):
    """The one training of the comparison."""
    return finalist_experiment(search, folder, Candidate("default", {}), 0)


def _compare(search, folder):
    names = write_names(search, folder)
    return stage.compare(search, folder, [], names, trial_resources(search.compute))


def test_a_finalist_whose_node_was_lost_is_trained_again_at_once(search, folder, training, claim):
    claim(f"{training.run}/cam_net", folder)
    began = time.monotonic()
    (found,) = _compare(search, folder)
    assert time.monotonic() - began < 80
    assert (found["name"], found["diverged"]) == ("default", [])
    kept = read_json(f"{training.run}/curves.json")
    index = search.evaluate.thresholds.index(found["threshold"])
    assert found["held_out"] == [kept["held_out"][index]]
    assert found["choosing"] == [max(kept["choosing"])]
    assert found["choosing"][0] > 0


def test_what_says_nothing_of_the_settings_is_no_score(search, folder, training, claim):
    # The first process of this machine lives as long as the machine.
    claim(f"{training.run}/cam_net", "another job", host=socket.gethostname())
    with pytest.raises(ValueError, match="another job works at"):
        _compare(search, folder)


def test_a_training_that_diverges_counts_as_nothing_and_is_named(search, folder, caplog):
    diverging = search.with_overrides({"train.ritc.optimiser.learning_rate": 1e30})
    (found,) = _compare(diverging.with_overrides({"train.ritc.epochs": 2}), folder)
    assert (found["choosing"], found["held_out"], found["diverged"]) == ([0.0], [0.0], [0])
    assert "default diverged with seed 0" in caplog.text


@pytest.mark.parametrize("error", [DivergedError, ValueError])
def test_divergence_is_known_by_its_kind(folder, training, monkeypatch, error):
    def train(*_, **__):
        raise error("the loss is not finite")

    monkeypatch.setattr(stage.train_stage, "run", train)
    if error is DivergedError:
        assert not stage._train_finalist(folder, training)
        return
    with pytest.raises(ValueError, match="not finite"):
        stage._train_finalist(folder, training)


def test_what_scores_takes_what_a_worker_takes(search, folder, monkeypatch):
    workers = {"num_workers": 2, "num_cpus": 1}
    search = search.with_overrides({"compute.train": workers, "compute.tune.max_concurrent": 1})
    asked = {}

    def together(work, calls, each, at_a_time, label):
        asked[label] = (each["CPU"], at_a_time)
        return [SeedCurves([0.1] * 5, [0.1] * 5) if label == "scores" else True for _ in calls]

    monkeypatch.setattr(stage, "together", together)
    _compare(search, folder)
    assert asked == {"seeds": (0.01, 1), "finalists": (0.01, 1), "scores": (1.0, 2)}
