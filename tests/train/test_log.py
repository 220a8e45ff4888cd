import json
from pathlib import Path

import pytest

from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.train import log as module
from qaclims_ray.train.log import DEAD_STEPS, MAX_LOGIT, Log, Progress, TensorBoard, ends_dead


@pytest.fixture
def target(make_experiment, tmp_path):
    return own_artifact(make_experiment(tmp_path), "classifier")


def test_a_row_has_speed_and_the_share_of_waiting_and_progress_is_told(target, monkeypatch):
    seconds = iter([10.0, 20.0, 20.5, 30.0, 31.0])
    monkeypatch.setattr("qaclims_ray.train.log.time.monotonic", lambda: next(seconds))
    log = Log(target, 0)
    log.start(0)
    found = []
    for step, waited in enumerate([2.5, 0.5, 0.0]):
        log.add(step, 10, waited, {"total": float(step)})
        found.append(json.loads(Path(target.work, "progress.json").read_text())["step"])
    assert found == [1, 1, 3]
    means = log.write()
    assert means["images_per_second"] == pytest.approx((1 + 20 + 10 / 9.5) / 3)
    assert means["total"] == 1
    lines = Path(target.uri, "metrics", "epoch-000.jsonl").read_text().splitlines()
    assert [json.loads(line)["data_wait"] for line in lines] == [0.25, 1.0, 0.0]


def _log_steps(target, logits):
    log = Log(target, 0)
    log.start(0)
    for step, logit in enumerate(logits):
        log.add(step, 1, 0.0, {MAX_LOGIT: logit})
    log.write()


def test_maps_that_die_are_said_once_while_they_train(target, monkeypatch, caplog):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_PROGRESS", -1.0)
    progress = Progress(target)
    assert progress() == 0
    _log_steps(target, [1.0] + (DEAD_STEPS - 1) * [-1.0])
    assert progress() == DEAD_STEPS
    assert caplog.text == ""
    _log_steps(target, [1.0] + DEAD_STEPS * [-1.0])
    assert progress() == progress() == DEAD_STEPS + 1
    assert caplog.text.count("classifier: its maps have died") == 1


@pytest.mark.parametrize(
    ("logits", "dead"), [([-1.0, 0.0], True), ([-1.0, 0.1], False), ([], False)]
)
def test_a_training_ends_dead_if_its_last_epoch_has_no_logit_above_0(target, logits, dead):
    if logits:
        _log_steps(target, logits)
    assert ends_dead(target) == dead


def test_an_epoch_goes_on_after_the_rows_that_its_checkpoint_knows(target):
    log = Log(target, 0)
    log.start(0)
    for step in range(4):
        log.add(step, 1, 0.0, {"total": 1.0})
    log.write()
    log = Log(target, 2)
    log.start(0)
    log.add(2, 1, 0.0, {"total": 9.0})
    log.write()
    lines = Path(target.uri, "metrics", "epoch-000.jsonl").read_text().splitlines()
    assert [json.loads(line)["total"] for line in lines] == [1.0, 1.0, 9.0]


def test_tensorboard_finds_the_same_scalars(target):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = Log(target, 0, [TensorBoard(target, 0)])
    log.start(0)
    for step in range(3):
        log.add(step, 1, 0.0, {"total": 2.0 * step})
    log.scored(3, {"miou": 0.5})
    log.write()
    found = events.EventAccumulator(str(Path(target.uri, "tensorboard"))).Reload()
    assert [(one.step, one.value) for one in found.Scalars("total")] == [(0, 0), (1, 2), (2, 4)]
    assert [(one.step, one.value) for one in found.Scalars("miou")] == [(3, 0.5)]
    assert "data_wait" in found.Tags()["scalars"]


def test_tensorboard_forgets_what_came_after_the_checkpoint(target):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for done, value in ((0, 1.0), (2, 9.0)):
        log = Log(target, done, [TensorBoard(target, done)])
        log.start(0)
        for step in range(done, 4):
            log.add(step, 1, 0.0, {"total": value})
        log.write()
    assert len(list(Path(target.uri, "tensorboard").iterdir())) == 2
    found = events.EventAccumulator(str(Path(target.uri, "tensorboard"))).Reload()
    assert [(one.step, one.value) for one in found.Scalars("total")] == [
        (0, 1), (1, 1), (2, 9), (3, 9)
    ]  # fmt: skip
