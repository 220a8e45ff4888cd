import json
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from qaclims_ray.artifacts import artifact, own_artifact
from qaclims_ray.storage import write_json
from qaclims_ray.train.loop import Log, Place, num_steps, train

CLASSES = ("cat", "dog", "boat")
RANDOM_START = {"model.backbone_weights": None, "train.classifier.epochs": 2}


class Memory:
    """Keeps the states of a worker as bytes would be kept, and can be switched off."""

    def __init__(self, last_epoch=None):
        self.states = []
        self.metrics = []
        self._last_epoch = last_epoch

    def load(self):
        return self.states[-1] if self.states else None

    def save(self, state, metrics):
        self.states.append(_copied(state))
        self.metrics.append(metrics)
        if state["epoch"] == self._last_epoch:
            raise KeyboardInterrupt

    def place(self):
        return Place(load=self.load, save=self.save)


def _copied(tree):
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


@pytest.fixture(scope="module")
def table(png):
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    rows = [
        {"name": f"i{number:02d}", "image": png(image), "labels": [number % 3]}
        for number, image in enumerate(noise)
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture
def run(make_experiment, table, tmp_path):
    """Trains a classifier in a folder of its own; gives its weights."""

    def run(folder, place, **overrides):
        experiment = make_experiment(tmp_path / folder, {**RANDOM_START, **overrides})
        train(experiment, "classifier", table, CLASSES, place)
        return load_file(tmp_path / folder / "classifier" / "model.safetensors")

    return run


def _assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)


def test_two_runs_with_one_seed_are_equal(run):
    _assert_equal(run("one", Place()), run("other", Place()))


def test_another_seed_is_another_run(run):
    one, other = run("one", Place()), run("other", Place(), **{"train.seed": 1})
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_a_resumed_training_ends_as_an_undisturbed_one(run):
    interrupted = Memory(last_epoch=0)
    with pytest.raises(KeyboardInterrupt):
        run("interrupted", interrupted.place())
    resumed = Memory()
    resumed.states = interrupted.states
    _assert_equal(run("interrupted", resumed.place()), run("straight", Place()))
    assert [state["epoch"] for state in resumed.states] == [0, 1]


def test_a_training_whose_last_epoch_was_saved_only_writes_its_model(run):
    interrupted = Memory(last_epoch=1)
    with pytest.raises(KeyboardInterrupt):
        run("interrupted", interrupted.place())
    resumed = Memory()
    resumed.states = interrupted.states
    _assert_equal(run("interrupted", resumed.place()), run("straight", Place()))
    assert resumed.metrics == []


def test_every_step_is_logged_once(run, tmp_path):
    memory = Memory()
    run("one", memory.place())
    files = sorted((tmp_path / "one" / "classifier" / "metrics").iterdir())
    assert [path.name for path in files] == ["epoch-000.jsonl", "epoch-001.jsonl"]
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in files]
    assert [[row["step"] for row in epoch] for epoch in rows] == [[0, 1], [2, 3]]
    assert {"epoch", "total", "learning_rate", "grad_norm", "images_per_second"} <= set(rows[0][0])
    means = [np.mean([row["total"] for row in epoch]) for epoch in rows]
    assert [metrics["total"] for metrics in memory.metrics] == pytest.approx(means)


def test_only_worker_0_writes(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        run("one", Place(worker=1, num_workers=2))
    assert not list((tmp_path / "one").rglob("*"))


def test_steps_count_the_batches_of_all_workers(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, RANDOM_START)
    count = partial(num_steps, experiment, "classifier")
    assert experiment.train.classifier.images_per_worker == 8
    assert [count(40, 1), count(40, 2), count(3, 2)] == [10, 4, 2]


def test_fewer_images_than_a_batch_train_too(make_experiment, table, tmp_path):
    experiment = make_experiment(tmp_path, RANDOM_START)
    train(experiment, "classifier", table.slice(0, 3), CLASSES, Place())
    assert (tmp_path / "classifier" / "model.safetensors").is_file()


def test_a_base_run_is_left_alone(make_experiment, table, tmp_path):
    """Training anew what a base run has too must not write there."""
    base = make_experiment(tmp_path / "base", RANDOM_START)
    shared = own_artifact(base, "classifier")
    write_json(f"{shared.uri}/_COMPLETE.json", {"digest": shared.digest})
    own = base.with_overrides({"run": str(tmp_path / "own"), "base": [base.run]})
    assert artifact(own, "classifier") == shared
    train(own, "classifier", table, CLASSES, Place())
    assert [path.name for path in Path(shared.uri).iterdir()] == ["_COMPLETE.json"]
    assert (tmp_path / "own" / "classifier" / "model.safetensors").is_file()


def test_progress_tells_how_many_steps_are_done(make_experiment, tmp_path, monkeypatch):
    seconds = iter([10.0, 20.0, 20.5, 30.0])
    monkeypatch.setattr("qaclims_ray.train.loop.time.monotonic", lambda: next(seconds))
    target = own_artifact(make_experiment(tmp_path, RANDOM_START), "classifier")
    log = Log(target, Place(num_workers=2))
    found = []
    for step in range(3):
        log.add(0, step, 5, {"total": 1.0})
        found.append(json.loads(Path(target.work, "progress.json").read_text())["step"])
    assert found == [1, 1, 3]
    assert log.finish(0)["images_per_second"] == pytest.approx((1 + 20 + 10 / 9.5) / 3)
