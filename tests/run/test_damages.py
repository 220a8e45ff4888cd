"""Files that are cut, empty, garbage, of another kind or lack a key: one line names each."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from qaclims_ray.cluster.training import run_config
from qaclims_ray.config.compute import Workers
from qaclims_ray.evaluate.score import read_scores
from qaclims_ray.model.checkpoints import load_network, read_state
from qaclims_ray.report.search import search_summary
from qaclims_ray.report.training import training_of
from qaclims_ray.run.artifact import COMPLETE, Artifact, own_artifact
from qaclims_ray.run.blocks import PendingBlocks
from qaclims_ray.run.faults import CrashLog
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lease import OWNER, lease
from qaclims_ray.run.lineage import status
from qaclims_ray.search.epochs import scored_in
from qaclims_ray.search.rows import trial_row
from qaclims_ray.search.trial import CURVE, OVERRIDES, TrialCheckpointer
from qaclims_ray.storage.files import read_json, write_bytes, write_json
from qaclims_ray.train.checkpoint import load_state, save_state
from qaclims_ray.train.faults import failure
from qaclims_ray.train.log import PROGRESS, Progress, read_log
from qaclims_ray.train.validation import weights
from tests.build import manifest, write_artifact

DAMAGES = {
    "empty": lambda _: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda _: b"\xff\x80\x03garbage",
    "zeros": lambda whole: bytes(len(whole)),
    "number": lambda _: b"7",
    "list": lambda _: b'["a", null]',
    "lacking": lambda _: b"{}",
    "deep": lambda _: b"[" * 100_000,
}
ANY_RECORD = set(DAMAGES) - {"lacking"}
"""Damages of a file whose keys are free."""
FIGURES = dict.fromkeys(("threshold", "miou", "mean_boundary_iou"), 0.5)


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(tmp_path / "run")


def _check(uri: str, whole: bytes, read: Callable[[], object], kinds=frozenset(DAMAGES)) -> None:
    """Damage a file in all ways; its reader has to name it in a ValueError of one line."""
    write_bytes(uri, whole)
    read()
    for kind in kinds:
        write_bytes(uri, DAMAGES[kind](whole))
        with pytest.raises(ValueError, match=Path(uri).name) as caught:
            read()
        assert type(caught.value) is ValueError, kind
        assert len(str(caught.value).splitlines()) == 1, kind
        assert uri in str(caught.value), kind


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def test_markers(experiment):
    images = own_artifact(experiment, "images")
    write_artifact(images, [], facts={"class_names": ["cat"]})
    marker = f"{images.uri}/{COMPLETE}"
    whole = Path(marker).read_bytes()
    for read in (images.require, images.shards, lambda: status(experiment)):
        _check(marker, whole, read)
    told = json.loads(whole)
    for key in told.keys() - {"files"}:
        write_json(marker, {name: value for name, value in told.items() if name != key})
        with pytest.raises(ValueError, match=rf"_COMPLETE\.json is damaged, {key}: .*--overwrite"):
            images.require()
        for value in (None, [[]], -0.5 if key == "artifact" else "x" * (key != "digest") or 7):
            if not isinstance(value, type(told[key])):
                write_json(marker, {**told, key: value})
                with pytest.raises(ValueError, match=r"_COMPLETE\.json is damaged"):
                    images.require()
    write_json(marker, {**told, "facts": {}})
    with pytest.raises(ValueError, match=r"lacks the fact 'class_names'.*--overwrite"):
        class_names(images)


def test_what_unfinished_work_is_made_from(experiment):
    target = own_artifact(experiment, "images")
    uri = f"{target.work}/made_from.json"
    whole = _json({"recipe": target.recipe, "inputs": {}})
    _check(uri, whole, lambda: target.start({}))
    write_bytes(f"{target.work}/rows/0-0.parquet", b"x")
    other = own_artifact(experiment.with_overrides({"data.seed": 7}), "images")
    with pytest.raises(ValueError, match=r"made_from\.json is damaged"):
        other.start({})
    other.clear()
    other.start({})


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_owner_file_binds_nobody(tmp_path, kind):
    whole = _json({"host": "elsewhere", "pid": 1, "alive": 1.0, "job": None})
    write_bytes(f"{tmp_path}/{OWNER}", DAMAGES[kind](whole))
    with lease(str(tmp_path)):
        assert read_json(f"{tmp_path}/{OWNER}")["host"] != "elsewhere"


@pytest.mark.parametrize("key", ["host", "pid", "alive"])
def test_an_owner_file_with_a_wrong_value_binds_nobody(tmp_path, key):
    owner = {"host": "elsewhere", "pid": 1, "alive": 1.0, "job": None}
    write_json(f"{tmp_path}/{OWNER}", {**owner, key: ["x"]})
    with lease(str(tmp_path)):
        pass


def test_scores(experiment):
    scores = own_artifact(experiment, "scores")
    figures = {**FIGURES, "intervals": {}}
    figures |= dict.fromkeys(("mean_precision", "mean_recall", "false_foreground"))
    lists = ("iou", "boundary_iou", "precision", "recall", "false_positives", "false_negatives")
    figures |= {key: [None] for key in lists}
    whole = {"num_images": 1, "settings": {}, "class_names": ["cat"], "thresholds": [], "miou": []}
    whole |= {"best": figures, "fixed": figures}
    _check(f"{scores.uri}/scores.json", _json(whole), lambda: read_scores(scores))
    (Path(scores.uri) / "scores.json").unlink()
    with pytest.raises(ValueError, match=r"scores\.json is damaged, it is missing"):
        read_scores(scores)


def test_logs_of_trainings(experiment):
    network = own_artifact(experiment, "cam_net")
    uri = f"{network.uri}/metrics/epoch-000.jsonl"
    line = {"step": 0, "epoch": 0, "images_per_second": 1.0, "total": 0.5}
    cut = set(DAMAGES) - {"empty"}  # which is a log of no step
    for read in (lambda: read_log(uri), lambda: training_of(network)):
        _check(uri, _json(line), read, cut)
    validation = f"{network.uri}/metrics/validation.jsonl"
    _check(validation, _json({"miou": 0.5}), lambda: scored_in(network.uri), cut - {"lacking"})


@pytest.mark.parametrize("kind", DAMAGES)
def test_progress_that_cannot_be_read_is_none(experiment, kind):
    target = own_artifact(experiment, "cam_net")
    write_bytes(f"{target.work}/{PROGRESS}", DAMAGES[kind](b'{"step": 3}'))
    assert Progress(target)() == 0


def test_faults_and_crash_logs(experiment, tmp_path):
    fault = f"{tmp_path}/00000.json"
    _check(fault, _json({"message": "m", "diverged": False}), lambda: failure(str(tmp_path), {}))
    target = own_artifact(experiment, "corpus")
    page = f"{PendingBlocks(target).crash_log}/x.json"
    _check(page, _json(["a"]), lambda: CrashLog(target))


def test_checkpoints(experiment, tmp_path):
    keys = {"net": {}, "optimizer": {}, "scaler": None, "step": 3, "scores": []}
    state = {key: keys.get(key, {}) for key in _state_keys()}
    save_state(state, tmp_path)
    whole = (tmp_path / "state.pt").read_bytes()
    _check(f"{tmp_path}/state.pt", whole, lambda: load_state(tmp_path))
    torch.save([1], tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt cannot be read: it holds something else"):
        load_state(tmp_path)
    target = own_artifact(experiment, "cam_net")
    trial = TrialCheckpointer(target, lambda: None)
    _check(f"{target.work}/state.pt", whole, trial.load)
    snapshot = f"{target.work}/train/{target.name}/checkpoint_manager_snapshot.json"
    _check(snapshot, b"{}", lambda: run_config(Workers(), target), ANY_RECORD - {"half", "zeros"})


def _state_keys() -> frozenset[str]:
    from qaclims_ray.train.checkpoint import State

    return State.__required_keys__


def test_weights(tmp_path):
    net = nn.Linear(3, 2)
    uri = f"{tmp_path}/model.safetensors"
    _check(uri, weights(net), lambda: load_network(net, uri))
    _check(uri, weights(net), lambda: read_state(uri))
    write_bytes(uri, weights(nn.Linear(4, 2)))
    with pytest.raises(ValueError, match=r"model\.safetensors do not fit.*other shape"):
        load_network(net, uri)
    torch.save(net.state_dict(), tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    _check(f"{tmp_path}/a.pt", whole, lambda: read_state(tmp_path / "a.pt"))


def test_files_of_a_search(experiment):
    run = f"{experiment.run}/search/trials/trial_00000"

    def read() -> object:
        return trial_row(experiment, run, None)

    _check(f"{run}/{OVERRIDES}", b'{"a": 1}', read, ANY_RECORD)
    write_bytes(f"{run}/{OVERRIDES}", b"{}")
    _check(f"{run}/{CURVE}", b"[0.5]", read)
    Path(f"{run}/{CURVE}").unlink()
    _check(f"{run}/cam_net/{COMPLETE}", _json(manifest("cam_net")), read)
    for name in ("finalists", "seeds", "masks"):
        uri = f"{experiment.run}/search/{name}.json"
        for kind in ANY_RECORD - {"zeros"}:
            write_bytes(uri, DAMAGES[kind](b'{"a": 1}'))
            with pytest.raises(ValueError, match=rf"{name}\.json is damaged"):
                search_summary(experiment)
        Path(uri).unlink()


@pytest.mark.parametrize("kind", ["empty", "half", "garbage", "zeros"])
def test_a_damaged_block_of_unfinished_work_is_computed_again(experiment, kind):
    target = own_artifact(experiment, "corpus")
    work = PendingBlocks(target)
    rows = work_rows(target)
    for block in ("a", "b"):
        work.put(block, rows)
    (first, _) = work.blocks()
    content = Path(first).read_bytes()
    footer = int.from_bytes(content[-8:-4], "little")
    cut = {"half": content[: len(content) // 2], "zeros": content[: -8 - footer] + bytes(footer)}
    cut["zeros"] += content[-8:]
    Path(first).write_bytes(cut.get(kind, DAMAGES[kind](content)))
    assert work.resume().rows == 1
    assert len(work.blocks()) == 1


def work_rows(target: Artifact):
    import pyarrow as pa

    from qaclims_ray.run.blocks import work_schema

    return pa.Table.from_pylist([{"name": "a", "answers": []}], schema=work_schema(target.name))
