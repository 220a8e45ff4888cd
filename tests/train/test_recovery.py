"""Trainings under Ray Train that are disturbed: they end as undisturbed ones."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from qaclims_ray.config.experiment import dump
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.storage.filesystem import filesystem
from qaclims_ray.storage.listing import find
from qaclims_ray.train import stage
from qaclims_ray.train.cache import plan
from qaclims_ray.train.faults import DivergedError
from qaclims_ray.train.loop import train_here

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)

RECIPE = {
    "train.seed": 5,
    "train.classifier.epochs": 3,
    "train.classifier.batch_size_per_worker": 1,
    "train.classifier.validate_every": 1,
    # Adam moves each weight by the sign of its gradient, which is noise where it is small.
    "train.classifier.optimiser.kind": "sgd",
    "train.classifier.optimiser.learning_rate": 0.02,
    "train.classifier.optimiser.momentum": 0.9,
    "compute.train.num_workers": 2,
    "compute.train.checkpoint_every": 3,
}
"""Eight images: 3 epochs of 4 steps; checkpoints after steps 3, 4, 6, 8, 9 and 12."""


@pytest.fixture(scope="module")
def make(demo_run, tmp_path_factory):
    """An experiment on the demo's images in a folder of its own."""

    def make(**overrides):
        own = {"run": str(tmp_path_factory.mktemp("run")), "base": [demo_run.run]}
        return demo_run.with_overrides({**own, **RECIPE, **overrides})

    return make


def _equal_scores(experiment, fit):
    return lambda net: {"miou": 0.5, "threshold": 0.1}


def _killed_in_step(number, folder):
    """Scores that kill worker 0 within a step, once, as soon as Ray knows of the last checkpoint.

    The first score is the best. `folder` gets the step that the second life begins with, and the
    checkpoints that there are at the end.
    """

    def make_scorer(experiment, fit):
        # Runs in a worker, which can't import this module.
        import os
        import time
        from pathlib import Path

        from qaclims_ray.run.artifact import own_artifact
        from qaclims_ray.train.step import Step

        checkpoints = Path(own_artifact(experiment, "classifier").work, "train", "classifier")
        killed, resumed = Path(folder, "killed"), Path(folder, "resumed")
        plain = Step.__call__

        def wait_for(condition):
            end = time.monotonic() + 60
            while not condition():
                assert time.monotonic() < end
                time.sleep(0.05)

        def step(self, *batches):
            done = self._schedule.last_epoch
            if killed.exists() and not resumed.exists():
                resumed.write_text(str(done))
            if done == number and not killed.exists():
                snapshot = checkpoints / "checkpoint_manager_snapshot.json"
                wait_for(lambda: f"step-{number:08d}" in snapshot.read_text())
                killed.touch()
                os.kill(os.getpid(), 9)
            return plain(self, *batches)

        def score(net):
            if not killed.exists():
                return {"miou": 0.9, "threshold": 0.1}
            names = ["step-00000004", "step-00000008", "step-00000009"]
            if Path(folder, "again").exists():
                wait_for(lambda: sorted(p.name for p in checkpoints.glob("step-*")) == names)
                Path(folder, "kept").write_text(" ".join(names))
            Path(folder, "again").touch()
            return {"miou": 0.2, "threshold": 0.1}

        Step.__call__ = step
        return score

    return make_scorer


def _curve(experiment):
    uri = f"{own_artifact(experiment, 'classifier').uri}/metrics/epoch-*.jsonl"
    return [json.loads(line) for path in find(uri) for line in read_bytes(path).splitlines()]


def _model(experiment):
    return load(read_bytes(f"{own_artifact(experiment, 'classifier').uri}/model.safetensors"))


def _assert_same_but_for_running_statistics(one, other):
    for own, expected in zip(_curve(one), _curve(other), strict=True):
        for key in ("epoch", "step", "learning_rate", "grad_norm"):
            assert own[key] == pytest.approx(expected[key], rel=1e-3)
    expected = _model(other)
    for name, value in _model(one).items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)


def test_two_workers_go_on_when_one_is_killed_and_train_as_one_process_does(make, tmp_path):
    """A worker is killed in the middle of the second epoch: it costs what came after step 6."""
    experiment, alone = make(), make()
    line = stage.run(experiment, "classifier", make_scorer=_killed_in_step(6, tmp_path))
    assert line.startswith("classifier: 24 rows, 0 errors, 12 steps")
    assert (tmp_path / "resumed").read_text() == "6"
    # Kept by count and score: the two that were scored, and the last one.
    assert (tmp_path / "kept").read_text() == "step-00000004 step-00000008 step-00000009"
    target = own_artifact(experiment, "classifier")
    assert not Path(target.uri, "_work").exists()
    assert [row["step"] for row in _curve(experiment)] == list(range(12))
    scored = Path(target.uri, "metrics", "validation.jsonl").read_text().splitlines()
    assert [json.loads(row)["miou"] for row in scored] == [0.9, 0.2, 0.2]

    train_here(alone, "classifier", plan(alone, "classifier"), make_scorer=_equal_scores)
    _assert_same_but_for_running_statistics(experiment, alone)


@pytest.fixture(scope="module")
def undisturbed(make):
    experiment = make()
    stage.run(experiment, "classifier", make_scorer=_equal_scores)
    return experiment


@pytest.mark.slow
def test_a_training_goes_on_with_fewer_workers_in_the_same_steps(make, undisturbed):
    """Only one worker of three CPUs fits into four; batch norms' statistics alone may differ."""
    experiment = make(**{"compute.train.min_workers": 1, "compute.train.num_cpus": 3})
    stage.run(experiment, "classifier", make_scorer=_equal_scores)
    _assert_same_but_for_running_statistics(experiment, undisturbed)


@pytest.mark.slow
def test_the_same_seed_and_workers_give_the_same_losses(make, undisturbed):
    experiment = make()
    stage.run(experiment, "classifier", make_scorer=_equal_scores)
    assert [row["total"] for row in _curve(experiment)] == [
        row["total"] for row in _curve(undisturbed)
    ]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_it_with_one_message_and_the_checkpoint_intact(make):
    experiment = make(**{"train.classifier.optimiser.learning_rate": 1e30})
    experiment = experiment.with_overrides({"compute.train.checkpoint_every": 1})
    start = time.monotonic()
    told = r"classifier, step 1: the loss is not finite"
    with pytest.raises(DivergedError, match=told) as caught:
        stage.run(experiment, "classifier", make_scorer=_equal_scores)
    message = str(caught.value)
    assert len(message.splitlines()) <= 2
    assert "images [" in message
    assert time.monotonic() - start < 200
    work = Path(own_artifact(experiment, "classifier").work)
    checkpoint = torch.load(work / "train/classifier/step-00000001/state.pt", weights_only=True)
    assert checkpoint["step"] == 1
    # Mended, the same artifact is made anew: another learning rate is another recipe.
    assert not artifact(experiment, "classifier").is_complete()


@pytest.mark.slow
def test_another_recipe_never_clears_the_checkpoints_of_a_training_unasked(make):
    """Not even without a file of Ray Train's own, which may get another name one day."""
    one = {"compute.train.num_workers": 1, "compute.train.checkpoint_every": 1}
    diverges = make(**{**one, "train.classifier.optimiser.learning_rate": 1e30})
    with pytest.raises(DivergedError, match="step 1"):
        stage.run(diverges, "classifier", make_scorer=_equal_scores)
    fit = Path(own_artifact(diverges, "classifier").work, "train", "classifier")
    (state,) = fit.glob("step-*/state.pt")
    for path in fit.iterdir():
        if path != state.parent:
            path.unlink()
    mended = diverges.with_overrides({"train.classifier.optimiser.learning_rate": 0.02})
    with pytest.raises(ValueError, match=r"unfinished work made with another[^?]*1e\+30 → 0\.02"):
        stage.run(mended, "classifier", make_scorer=_equal_scores)
    assert torch.load(state, weights_only=True)["step"] == 1


def _command(path):
    return [
        sys.executable, "jobs/train_classifier.py", "--config", str(path), "compute.num_cpus=4",
        "compute.object_store_megabytes=150",
    ]  # fmt: skip


def _start(path, log):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    with log.open("ab") as file:
        return subprocess.Popen(_command(path), cwd=ROOT, env=environment, stdout=file, stderr=file)


def _wait_for(condition, process, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)


def _kept(experiment):
    """Names of the checkpoints that there are."""
    fs, path = filesystem(own_artifact(experiment, "classifier").work)
    return sorted(one.split("/")[-2] for one in fs.glob(f"{path}/train/classifier/step-*/state.pt"))


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """URI of a bucket on a server of its own; the environment leads to it."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    keys = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "x"}
    keys |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    for key, value in keys.items():
        monkeypatch.setenv(key, value)
    script = str(ROOT / "tests" / "cluster" / "s3_server.py")
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, script, str(port), "0"], stderr=log)
    with closing(socket.socket()) as caller:
        _wait_for(lambda: caller.connect_ex(("127.0.0.1", port)) == 0, server)
    fs, _ = filesystem("s3://bucket")
    fs.clear_instance_cache()
    filesystem("s3://bucket")[0].mkdir("bucket")
    yield "s3://bucket"
    server.kill()
    server.wait()


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["disk", "s3"])
def test_after_the_driver_was_killed_the_same_command_goes_on(make, tmp_path, storage, request):
    longer = {"train.classifier.epochs": 12, "train.classifier.validate_every": None}
    # Small steps: over 48 of them roundings would grow until curves part.
    longer["train.classifier.optimiser.learning_rate"] = 0.002
    undisturbed = make(**longer)
    train_here(undisturbed, "classifier", plan(undisturbed, "classifier"))
    run = f"{request.getfixturevalue('s3')}/run" if storage == "s3" else str(tmp_path / "run")
    experiment = make(run=run, **longer)
    path, log = tmp_path / "config.yaml", tmp_path / "log"
    path.write_text(dump(experiment))
    first = _start(path, log)
    _wait_for(lambda: len(_kept(experiment)) > 1, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert _kept(experiment)[-1] < "step-00000048"
    assert _start(path, log).wait(timeout=280) == 0, log.read_text()
    _assert_same_but_for_running_statistics(experiment, undisturbed)
