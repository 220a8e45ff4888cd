import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from qaclims_ray import published
from qaclims_ray.config.experiment import load
from qaclims_ray.config.overrides import parse_overrides
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.checkpoints import to_published_cam
from qaclims_ray.refine.stage import load_irn
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.faults import MAX_CRASHES
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import atomic_open
from qaclims_ray.types import SCHEMAS

ROOT = Path(__file__).parents[1]
CLASSES = ["boat", "cow"]
QUESTIONS = ["What {}?", "Which {}?", "Is it a {}?"]
"""Of the files; the third is not the run's."""
IMAGES = {"a": [0], "b": [0, 1], "c": [1]}


@pytest.fixture
def overrides(tmp_path):
    """Of a run with ResNet-50 and three images, into which nothing is imported yet."""
    return [
        f"run={tmp_path / 'run'}",
        "model.backbone=resnet50",
        "model.backbone_weights=null",
        "data.max_errors=1",
        "data.shard_megabytes=1.0",
        f"corpus.questions={{foreground: {QUESTIONS[:2]}, background: {QUESTIONS[:1]}}}",
    ]


@pytest.fixture
def experiment(demo_config, overrides):
    experiment = load(demo_config, parse_overrides(overrides))
    make(experiment, "images", _write_images, overwrite=False)
    return experiment


def _write_images(target):
    rows = [
        {"name": name, "image": b"", "height": 1, "width": 1, "labels": labels, "mask": None}
        for name, labels in IMAGES.items()
    ]
    with atomic_open(f"{target.uri}/part-00000.parquet") as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS["images"]), file)
    return Built(len(rows), 0, {"class_names": CLASSES})


def save_corpus(path, names, *answers):
    asked = [*zip(QUESTIONS, answers, strict=False)]
    entry = {"vqa": asked, "answers": list(answers)}
    labels = {name: [CLASSES[label] for label in IMAGES[name]] for name in names}
    np.save(path, {name: dict.fromkeys(labels[name], entry) for name in names})
    return str(path)


def save_checkpoint(path, num_classes=2):
    net = build_cam_net("resnet50", num_classes)
    torch.save(to_published_cam(net.state_dict()), path)
    return net


def test_a_corpus_becomes_an_artifact_and_lacking_images_errors(experiment, tmp_path):
    files = [
        save_corpus(tmp_path / "fg.npy", "abc", "ship", "yacht", "no"),
        save_corpus(tmp_path / "bg.npy", "ab", "water"),
    ]
    (line,) = published.run({"corpus": files}, experiment, overwrite=False)
    assert line.startswith("corpus: 2 rows, 1 errors")
    target = artifact(experiment, "corpus")
    rows = read_table(target).to_pylist()
    assert [row["name"] for row in rows] == ["a", "b"]
    assert [a["lemma"] for a in rows[0]["answers"]] == ["ship", "yacht", "water"]
    assert rows[1]["answers"][3]["question"] == "What cow?"
    assert [a["answer"] for a in rows[1]["answers"]] == ["ship", "yacht", "water"] * 2
    assert target.require()["facts"] == {"imported": files}


def test_more_lacking_images_than_allowed_stop_the_import(experiment, tmp_path):
    path = save_corpus(tmp_path / "fg.npy", "a", "ship", "yacht")
    with pytest.raises((ValueError, RuntimeError), match="no sound entry for 'c'"):
        list(published.run({"corpus": [path, path]}, experiment, overwrite=False))


def test_an_import_that_was_stopped_is_no_rows_fault(experiment, tmp_path):
    few = save_corpus(tmp_path / "few.npy", "a", "ship", "yacht")
    for _ in range(MAX_CRASHES):
        with pytest.raises(ValueError, match="no sound entry for 'c'"):
            list(published.run({"corpus": [few, few]}, experiment, overwrite=False))
    sound = save_corpus(tmp_path / "sound.npy", "abc", "ship", "yacht")
    (line,) = published.run({"corpus": [sound, sound]}, experiment, overwrite=False)
    assert line.startswith("corpus: 3 rows, 0 errors")


def test_a_run_needs_a_config():
    with pytest.raises(ValueError, match=r"\['cam_net'\] need --config FILE"):
        list(published.run({"cam_net": ["res50.pth"]}, None, overwrite=False))


def test_a_network_goes_in_and_out(experiment, tmp_path):
    save_checkpoint(tmp_path / "res50.pth")
    (line,) = published.run(
        {"classifier": [str(tmp_path / "res50.pth")]}, experiment, overwrite=False
    )
    assert line.startswith("classifier: 0 rows, 0 errors")
    (line,) = published.run(
        {"export": ["classifier", str(tmp_path / "back.pth")]}, experiment, overwrite=False
    )
    assert line == f"classifier: exported · {tmp_path / 'back.pth'}"
    assert (tmp_path / "back.pth").is_file()


def test_a_boundary_network_goes_in(experiment, tmp_path):
    names = json.loads((ROOT / "tests/golden/data/irn.json").read_text())["state_dict"]["canonical"]
    state = {name: torch.rand(shape) for name, shape in names.items()}
    torch.save(state, tmp_path / "irn.pth")
    (line,) = published.run({"irn": [str(tmp_path / "irn.pth")]}, experiment, overwrite=False)
    assert line.startswith("irn: 0 rows, 0 errors")
    net = load_irn(experiment, "cpu")
    assert torch.equal(net.edge_layers[5].weight, state["fc_edge6.weight"])
    assert torch.equal(net.mean_shift.running_mean, state["fc_dp7.4.running_mean"])


def test_the_job_takes_the_files_of_each_kind(
    monkeypatch, capsys, experiment, demo_config, overrides, tmp_path
):
    save_checkpoint(tmp_path / "res50.pth")
    arguments = ["--config", str(demo_config), "--cam_net", str(tmp_path / "res50.pth")]
    monkeypatch.setattr(sys, "argv", ["import_published.py", *overrides, *arguments])
    runpy.run_path(str(ROOT / "jobs" / "import_published.py"))["main"]()
    assert capsys.readouterr().out.startswith("cam_net: 0 rows, 0 errors")
    assert artifact(experiment, "cam_net").is_complete()
