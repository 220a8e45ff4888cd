import errno
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ray.train import Checkpoint, ControllerError, WorkerGroupError
from safetensors.torch import load_file

from qaclims_ray.cluster.training import run_config, scaling
from qaclims_ray.config.compute import Compute, Workers
from qaclims_ray.config.experiment import load
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import normalise
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.resnet import freeze_batch_norm
from qaclims_ray.run.artifact import Artifact, artifact, own_artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import write_json
from qaclims_ray.train import stage
from qaclims_ray.train.cache import plan
from qaclims_ray.train.faults import failure
from qaclims_ray.train.loop import train_here
from qaclims_ray.train.rows import labels_of
from qaclims_ray.train.task import TRAININGS, settings
from tests.build import relist, write_artifact


def _model(experiment, network):
    return load_file(Path(artifact(experiment, network).uri, "model.safetensors"))


@pytest.mark.parametrize("network", ["classifier", "cam_net"])
def test_a_network_comes_with_its_config_and_metrics(demo_run, network):
    target = artifact(demo_run, network)
    net = build_cam_net(demo_run.model.backbone, len(CLASSES))
    net.load_state_dict(_model(demo_run, network))
    assert load(Path(target.uri, "config.yaml")) == demo_run
    lines = Path(target.uri, "metrics", "epoch-000.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert len(rows) == 8 // settings(demo_run, network).batch_size_per_worker
    assert target.require()["facts"] == {"class_names": list(CLASSES), "steps": len(rows)}


def test_ritc_starts_from_the_classifier_and_moves_it(demo_run):
    classifier, cam_net = (_model(demo_run, name) for name in ("classifier", "cam_net"))
    weight = "backbone.layer1.conv1.weight"
    moved = (cam_net[weight] - classifier[weight]).norm() / classifier[weight].norm()
    assert 0 < moved < 0.2


def test_ritc_logs_its_terms(demo_run):
    path = Path(artifact(demo_run, "cam_net").uri, "metrics", "epoch-000.jsonl")
    row = json.loads(path.read_text().splitlines()[0])
    assert {"total", "foreground", "background", "area", "num_pairs", "max_logit"} <= set(row)
    assert row["num_pairs"] > 0


def test_ritc_learns_clip_cams(demo_run, tmp_path):
    """Targets of the left half of each image pull the CAMs there; one image has none."""
    rows = read_table(artifact(demo_run, "cams")).to_pylist()[1:]
    for row in rows:
        half = np.zeros((len(row["classes"]), row["cam_height"], row["cam_width"]), np.float16)
        half[..., : row["cam_width"] // 2] = 1
        row["cam"] = half.tobytes()
    shares = {}
    for weight in (0.0, 100.0):
        run = tmp_path / str(weight)
        own = {"train.ritc.epochs": 3, "train.ritc.loss.clip_cams": weight}
        experiment = _own(demo_run, run, **own, **{"compute.train.num_loader_workers": 0})
        write_artifact(own_artifact(experiment, "clip_cams"), rows)
        learnt = plan(experiment, "cam_net")
        assert learnt.found.num_images == (7 if weight else 8)
        train_here(experiment, "cam_net", learnt)
        net = build_cam_net(demo_run.model.backbone, len(CLASSES)).eval()
        net.load_state_dict(load_file(run / "cam_net" / "model.safetensors"))
        images = [
            decode(row["image"], max_pixels=10**6)
            for row in read_table(learnt.rows.images, ["image"]).to_pylist()
        ]
        cams = net(torch.from_numpy(np.stack([normalise(image) for image in images]))).sigmoid()
        shares[weight] = cams[..., : cams.shape[3] // 2].sum() / cams.sum()
        lines = (run / "cam_net" / "metrics" / "epoch-000.jsonl").read_text().splitlines()
        assert ("clip_cams" in json.loads(lines[0])) == (weight > 0)
    assert shares[100.0] > shares[0.0]


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "train", None)
    assert "complete already" in stage.run(demo_run, "classifier")
    assert "complete already" in stage.run(demo_run, "cam_net")


def test_ritc_leaves_out_images_without_answers(demo_run, tmp_path):
    fewer = demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run]})
    own = own_artifact(fewer, "pairs")
    pairs = read_table(artifact(demo_run, "pairs"))
    Path(own.uri).mkdir()
    pq.write_table(pairs.slice(2), f"{own.uri}/part-00000.parquet")
    write_json(f"{own.uri}/_COMPLETE.json", artifact(demo_run, "pairs").manifest())
    relist(own)
    names = pairs["name"].to_pylist()
    for network, expected in {"cam_net": names[2:], "classifier": names}.items():
        rows = TRAININGS[network].rows(fewer)
        assert pa.concat_tables(labels_of(rows))["name"].to_pylist() == expected


def test_a_training_names_the_job_that_must_come_first(demo_run, make_experiment, tmp_path):
    fresh = make_experiment(tmp_path)
    with pytest.raises(ValueError, match=r"run qaclims ingest first"):
        stage.run(fresh, "classifier")
    other = demo_run.with_overrides(
        {"run": str(tmp_path), "base": [demo_run.run], "train.seed": 77}
    )
    with pytest.raises(ValueError, match=r"run qaclims train-classifier first"):
        stage.run(other, "cam_net")


def _own(demo_run, tmp_path, **overrides):
    """An experiment on the demo's images, in a run of its own."""
    return demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run], **overrides})


def test_too_few_images_for_a_step_are_found_before_workers_start(demo_run, tmp_path):
    experiment = _own(demo_run, tmp_path, **{"compute.train.num_workers": 2})
    lower = r"lower train\.classifier\.batch_size_per_worker"
    message = f"8 images are fewer than the 16 of one step: {lower}"
    with pytest.raises(ValueError, match=message):
        stage.run(experiment, "classifier")


def test_images_of_which_none_shows_a_class_are_an_error(demo_run, tmp_path):
    experiment = _own(demo_run, tmp_path, **{"train.seed": 9})
    own = own_artifact(experiment, "images")
    rows = read_table(artifact(demo_run, "images"))
    nothing = pa.array([[]] * rows.num_rows, rows.schema.field("labels").type)
    rows = rows.set_column(rows.schema.get_field_index("labels"), "labels", nothing)
    Path(own.uri).mkdir()
    pq.write_table(rows, f"{own.uri}/part-00000.parquet")
    write_json(f"{own.uri}/_COMPLETE.json", artifact(demo_run, "images").manifest())
    relist(own)
    with pytest.raises(ValueError, match="none of 8 images has a label"):
        stage.run(experiment, "classifier")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_checkpoint_that_cannot_be_read_is_a_clear_error(
    content, demo_run, tmp_path, monkeypatch
):
    experiment = _own(demo_run, tmp_path, **{"train.seed": 10})
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "state.pt").write_bytes(content)
    checkpoint = Checkpoint.from_directory(tmp_path / "step")
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: checkpoint)
    learnt = plan(experiment, "classifier")
    with pytest.raises(ValueError, match=r"checkpoint can't be used: .*\n.*--overwrite"):
        train_here(experiment, "classifier", learnt, stage.RayCheckpointer(0))


@pytest.mark.parametrize("name", ["resnet50", "timm:resnet10t", "timm:regnety_002"])
def test_synchronised_batch_norms_compute_what_plain_ones_do(name, monkeypatch):
    """On GPUs; timm builds activations into them, which must not be lost."""
    monkeypatch.setattr("ray.train.torch.prepare_model", lambda net, **_: net)
    net = build_cam_net(name, 3).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = net(images)
    net = stage.RayWorker(device=torch.device("cuda")).join(net)
    norms = [one for one in net.modules() if isinstance(one, torch.nn.SyncBatchNorm)]
    assert norms
    assert not any(type(one) is torch.nn.BatchNorm2d for one in net.modules())
    torch.testing.assert_close(net(images), expected)
    freeze_batch_norm(net.train())
    assert not any(norm.training for norm in norms)


def test_checkpoints_are_kept_by_count_and_by_score_where_there_is_one(tmp_path):
    target = Artifact("cam_net", str(tmp_path), {})
    kept = run_config(Workers(keep_checkpoints=5), target, "miou").checkpoint_config
    assert (kept.num_to_keep, kept.checkpoint_score_attribute) == (5, "miou")
    kept = run_config(Workers(), target).checkpoint_config
    assert (kept.num_to_keep, kept.checkpoint_score_attribute) == (2, None)


def test_elastic_workers_need_room_for_the_fewest_alone(local_ray):
    assert scaling(Compute(train=Workers(num_workers=9, min_workers=2))).num_workers == (2, 9)
    with pytest.raises(ValueError, match=r"lower compute\.train\.min_workers"):
        scaling(Compute(train=Workers(num_workers=9, min_workers=8)))
    with pytest.raises(ValueError, match="min_workers: 3 is more than num_workers: 2"):
        Workers(num_workers=2, min_workers=3)


def test_what_workers_would_stumble_over_is_found_before_they_start(demo_run, tmp_path):
    experiment = _own(demo_run, tmp_path, **{"train.seed": 8, "compute.train.tensorboard": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qaclims_ray.train.loggers.find_spec", lambda name: None)
        with pytest.raises(ValueError, match="pip install tensorboard"):
            stage.run(experiment, "classifier")


def test_what_workers_died_of_is_told_once_for_all_of_them(tmp_path):
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: out of memory'
    failures = {0: OSError("no space\n" + 200 * "more\n"), 1: Exception(trace), 2: Exception(trace)}
    deaths = stage._deaths(WorkerGroupError("200 lines", failures))
    message = str(failure(str(tmp_path), deaths))
    assert len(message.splitlines()) == 4
    assert "worker 0: OSError: no space" in message
    assert message.count("RuntimeError: out of memory") == 1
    deaths = stage._deaths(ControllerError(RuntimeError("no placement")))
    message = str(failure(str(tmp_path), deaths))
    assert "Ray Train: ControllerError: Training failed due to controller error" in message


@pytest.fixture
def node(monkeypatch, tmp_path):
    """The temporary folder of a node with one worker, this process."""
    context = SimpleNamespace(get_local_rank=lambda: 0, get_node_rank=lambda: 0)
    monkeypatch.setattr("ray.train.get_context", lambda: context)
    monkeypatch.setattr(stage, "barrier", lambda: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def _whole(experiment):
    return stage._whole_set(experiment, "classifier", plan(experiment, "classifier"))


def _killed_while_it_copied(experiment):
    """A worker that gets no time to tidy up; its set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok: None)
        return _whole(experiment)


def test_a_nodes_copy_of_the_rows_goes_even_where_copying_fails(demo_run, node, monkeypatch):
    assert len(_whole(demo_run)) == 8
    assert list(node.iterdir()) == []

    def full(learnt, path):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(stage, "save_whole", full)
    with pytest.raises(OSError, match="no space"):
        _whole(demo_run)
    assert list(node.iterdir()) == []


def test_the_copy_that_a_killed_worker_left_is_replaced(demo_run, node):
    before = _killed_while_it_copied(demo_run)
    assert len(list(node.iterdir())) == 1
    after = _whole(demo_run)
    assert list(node.iterdir()) == []
    assert [*after.rows(range(8))] == [
        *before.rows(range(8))
    ]  # both can be read: the old file was not written over


def test_trainings_on_one_node_never_share_a_copy(demo_run, node, tmp_path):
    for experiment in (demo_run, _own(demo_run, tmp_path)):
        _killed_while_it_copied(experiment)
    assert len(list(node.iterdir())) == 2
