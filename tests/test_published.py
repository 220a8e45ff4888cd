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
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.checkpoints import to_published_cam
from qaclims_ray.run.artifact import Built, artifact
from qaclims_ray.run.faults import MAX_CRASHES
from qaclims_ray.run.make import make
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import atomic_open
from qaclims_ray.types import SCHEMAS

ROOT = Path(__file__).parents[1]
CLASSES = ["boat", "cow"]
IMAGES = {"a": [0], "b": [0, 1], "c": [1]}


@pytest.fixture
def options(demo_config, tmp_path):
    """Options of a run with ResNet-50 and three images, into which nothing is imported yet."""
    overrides = [
        f"run={tmp_path / 'run'}",
        "model.backbone=resnet50",
        "model.backbone_weights=null",
        "data.max_errors=1",
        "data.shard_megabytes=1.0",
    ]
    return {
        **dict.fromkeys(published.KINDS),
        "config": str(demo_config),
        "overrides": overrides,
        "overwrite": False,
    }


@pytest.fixture
def experiment(options):
    experiment = load(options["config"], published.parse_overrides(options["overrides"]))
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
    entry = {"vqa": [("What {}?", answer) for answer in answers], "answers": list(answers)}
    labels = {name: [CLASSES[label] for label in IMAGES[name]] for name in names}
    np.save(path, {name: dict.fromkeys(labels[name], entry) for name in names})
    return str(path)


def save_checkpoint(path, num_classes=2):
    net = build_cam_net("resnet50", num_classes)
    torch.save(to_published_cam(net.state_dict()), path)
    return net


def test_a_corpus_becomes_an_artifact_and_lacking_images_errors(options, experiment, tmp_path):
    files = [
        save_corpus(tmp_path / "fg.npy", "abc", "ship", "yacht"),
        save_corpus(tmp_path / "bg.npy", "ab", "water"),
    ]
    (line,) = published.run({**options, "corpus": files})
    assert line.startswith("corpus: 2 rows, 1 errors")
    target = artifact(experiment, "corpus")
    rows = read_table(target).to_pylist()
    assert [row["name"] for row in rows] == ["a", "b"]
    assert [a["lemma"] for a in rows[0]["answers"]] == ["ship", "yacht", "water"]
    assert rows[1]["answers"][3]["question"] == "What cow?"
    assert target.require()["facts"] == {"imported": files}


def test_more_lacking_images_than_allowed_stop_the_import(options, experiment, tmp_path):
    path = save_corpus(tmp_path / "fg.npy", "a", "ship")
    with pytest.raises((ValueError, RuntimeError), match="no sound entry for 'c'"):
        list(published.run({**options, "corpus": [path, path]}))


def test_an_import_that_was_stopped_is_no_rows_fault(options, experiment, tmp_path):
    few = save_corpus(tmp_path / "few.npy", "a", "ship")
    for _ in range(MAX_CRASHES):
        with pytest.raises(ValueError, match="no sound entry for 'c'"):
            list(published.run({**options, "corpus": [few, few]}))
    sound = save_corpus(tmp_path / "sound.npy", "abc", "ship")
    (line,) = published.run({**options, "corpus": [sound, sound]})
    assert line.startswith("corpus: 3 rows, 0 errors")


def test_a_run_needs_a_config(options):
    with pytest.raises(ValueError, match=r"\['cam_net'\] need --config FILE"):
        list(published.run({**options, "config": None, "cam_net": ["res50.pth"]}))


def test_a_network_goes_in_and_out(options, experiment, tmp_path):
    save_checkpoint(tmp_path / "res50.pth")
    (line,) = published.run({**options, "classifier": [str(tmp_path / "res50.pth")]})
    assert line.startswith("classifier: 0 rows, 0 errors")
    (line,) = published.run({**options, "export": ["classifier", str(tmp_path / "back.pth")]})
    assert line == f"classifier: exported · {tmp_path / 'back.pth'}"
    assert (tmp_path / "back.pth").is_file()


def test_a_file_that_needs_no_run_is_converted_without_one(options, tmp_path):
    names = json.loads((ROOT / "tests/golden/data/irn.json").read_text())["state_dict"]["canonical"]
    torch.save({name: torch.rand(shape) for name, shape in names.items()}, tmp_path / "irn.pth")
    files = [str(tmp_path / "irn.pth"), str(tmp_path / "irn.safetensors")]
    (line,) = published.run({**options, "config": None, "irn": files})
    assert line.startswith("irn: 358 tensors")


def test_the_job_takes_the_files_of_each_kind(monkeypatch, capsys, experiment, options, tmp_path):
    save_checkpoint(tmp_path / "res50.pth")
    arguments = ["--config", options["config"], "--cam_net", str(tmp_path / "res50.pth")]
    monkeypatch.setattr(sys, "argv", ["import_published.py", *options["overrides"], *arguments])
    runpy.run_path(str(ROOT / "jobs" / "import_published.py"))["main"]()
    assert capsys.readouterr().out.startswith("cam_net: 0 rows, 0 errors")
    assert artifact(experiment, "cam_net").is_complete()
