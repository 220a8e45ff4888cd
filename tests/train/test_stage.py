import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from qaclims_ray.artifacts import artifact, own_artifact
from qaclims_ray.config import load
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.storage import write_json
from qaclims_ray.tables import read_table
from qaclims_ray.train import stage
from qaclims_ray.train.loop import section


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
    assert len(rows) == 8 // section(demo_run, network).images_per_worker
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
    names = pairs["name"].to_pylist()
    assert stage._training_table(fewer, "cam_net")["name"].to_pylist() == names[2:]
    assert stage._training_table(fewer, "classifier")["name"].to_pylist() == names


def test_a_training_names_the_job_that_must_come_first(demo_run, make_experiment, tmp_path):
    fresh = make_experiment(tmp_path)
    with pytest.raises(ValueError, match=r"run jobs/ingest\.py first"):
        stage.run(fresh, "classifier")
    other = demo_run.with_overrides(
        {"run": str(tmp_path), "base": [demo_run.run], "train.seed": 77}
    )
    with pytest.raises(ValueError, match=r"run jobs/train_classifier\.py first"):
        stage.run(other, "cam_net")


def test_two_workers_train_together_under_ray(demo_run, tmp_path):
    experiment = demo_run.with_overrides(
        {
            "run": str(tmp_path),
            "base": [demo_run.run],
            "train.seed": 1,
            "train.classifier.epochs": 2,
            "train.classifier.images_per_worker": 2,
            "compute.train.num_workers": 2,
        }
    )
    assert stage.run(experiment, "classifier").startswith("classifier: 16 rows, 0 errors")
    target = artifact(experiment, "classifier")
    assert target.require()["facts"]["steps"] == 4
    metrics = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(Path(target.uri, "metrics").iterdir())
    ]
    assert [[row["step"] for row in epoch] for epoch in metrics] == [[0, 1], [2, 3]]
    net = build_cam_net(experiment.model.backbone, len(CLASSES))
    net.load_state_dict(_model(experiment, "classifier"))
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    assert not Path(target.uri, "_work").exists()
