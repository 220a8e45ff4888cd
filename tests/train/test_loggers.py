"""Real stores of MLflow and Weights & Biases, where these are installed."""

import pytest

from qaclims_ray.config.compute import Workers
from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.train import loggers as module
from qaclims_ray.train.log import Log, TensorBoard
from qaclims_ray.train.loggers import check_boards, open_boards, search_callbacks


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A store in files, and its client."""
    found = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return found.MlflowClient(f"file://{tmp_path}/mlruns")


@pytest.fixture
def experiment(make_experiment, tmp_path):
    def make(**boards):
        own = {f"compute.train.{name}": value for name, value in boards.items()}
        return make_experiment(tmp_path / "run", own)

    return make


def _train(experiment, done=0, until=3):
    """Log the steps of a training, with scores after the last one."""
    target = own_artifact(experiment, "classifier")
    log = Log(target, done, open_boards(experiment, target, done))
    log.start(0)
    for step in range(done, until):
        log.add(step, 4, 0.0, {"total": 2.0 * step})
    log.scored(until, {"miou": 0.5})
    log.write()
    log.close()


def _runs(client, name):
    (own,) = client.search_experiments(filter_string=f"name = '{name}'")
    return client.search_runs([own.experiment_id], order_by=["start_time"])


def test_mlflow_has_the_scalars_and_the_keys_that_decide_a_network(mlflow, experiment, tmp_path):
    logged = experiment(mlflow=f"file://{tmp_path}/mlruns")
    _train(logged)
    _train(logged, done=2, until=4)
    first, second = _runs(mlflow, "demo")
    assert (first.info.run_name, first.info.status) == ("classifier", "FINISHED")
    history = mlflow.get_metric_history(first.info.run_id, "total")
    assert [(one.step, one.value) for one in history] == [(0, 0), (1, 2), (2, 4)]
    assert first.data.metrics["miou"] == 0.5
    assert first.data.params["model.backbone"] == "small_resnet"
    assert first.data.tags["run"] == logged.run
    assert [one.step for one in mlflow.get_metric_history(second.info.run_id, "total")] == [2, 3]


def test_weights_and_biases_has_them_offline(experiment, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    _train(experiment(wandb="project"))
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    for written in (b"total", b"miou", b"model.backbone", b"classifier", b"project"):
        assert written in content


@pytest.mark.slow
def test_a_search_logs_each_trial(mlflow, local_ray, experiment, tmp_path):
    from ray import tune

    def trial(config):
        for epoch in (1, 2):
            tune.report({"epoch": epoch, "miou": config["x"] * epoch})

    callbacks = search_callbacks(experiment(mlflow=f"file://{tmp_path}/mlruns"))
    run_config = tune.RunConfig(storage_path=str(tmp_path / "tune"), callbacks=callbacks, verbose=0)
    tune.Tuner(trial, param_space={"x": tune.grid_search([0.1, 0.2])}, run_config=run_config).fit()
    found = _runs(mlflow, "demo")
    assert {run.data.params["x"] for run in found} == {"0.1", "0.2"}
    assert sorted(run.data.metrics["miou"] for run in found) == pytest.approx([0.2, 0.4])
    assert {run.info.status for run in found} == {"FINISHED"}


def test_nothing_is_opened_unless_asked_for(experiment):
    assert open_boards(experiment(), own_artifact(experiment(), "irn"), 0) == []
    assert search_callbacks(experiment()) == []


def test_tensorboard_is_one_of_them(experiment):
    pytest.importorskip("tensorboard")
    (board,) = open_boards(experiment(tensorboard=True), own_artifact(experiment(), "irn"), 0)
    assert isinstance(board, TensorBoard)
    board.close()


@pytest.mark.parametrize(
    "asked", [{"tensorboard": True}, {"mlflow": "http://host:5000"}, {"wandb": "project"}]
)
def test_a_package_that_is_missing_is_a_clear_error(asked, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    (name,) = asked
    with pytest.raises(ValueError, match=rf"compute\.train\.{name} is set.*pip install {name}"):
        check_boards(Workers(**asked))
    check_boards(Workers())
