import json
import sys

import onnxruntime
import pytest
import torch
from safetensors.torch import save

from qaclims_ray.model.segmenter_files import load_segmenter
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.manifest import Built
from qaclims_ray.segment import export
from qaclims_ray.segment.predict import load_trained
from qaclims_ray.storage.files import read_bytes, write_bytes
from qaclims_ray.storage.listing import list_files
from qaclims_ray.train.segmenter import build

NAMES = [f"class {number}" for number in range(8)]


@pytest.fixture
def experiment(make_experiment, tmp_path):
    """A run whose segmenter is the demo's with random weights."""
    experiment = make_experiment(tmp_path / "run")
    torch.manual_seed(0)
    net, trained = build(experiment.train.segmenter, 8), artifact(experiment, "segmenter")
    write_bytes(f"{trained.uri}/model.safetensors", save(net.state_dict()))
    trained.complete(Built(1, 0, {"class_names": NAMES}), 1.0, {})
    return experiment


def test_the_folder_and_onnx_compute_what_the_trained_network_does(experiment, tmp_path):
    to = tmp_path / "out"
    line = export.run(experiment, str(to), onnx=True)
    assert line.startswith("export_segmenter: DeepLabV3Plus, ")
    assert "background and 8 classes, ONNX differs from torch by at most" in line
    assert line.endswith(f" · {to}: README.md, config.json, model.onnx, model.safetensors")
    trained = load_trained(experiment, artifact(experiment, "segmenter"))
    loaded, names = load_segmenter(to)
    assert list(names) == NAMES
    images = torch.randn(1, 3, 61, 90)
    expected = trained(images)
    assert torch.equal(loaded(images), expected)
    session = onnxruntime.InferenceSession(to / "model.onnx")
    (found,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_any_store_will_do(experiment):
    line = export.run(experiment, "memory://net", onnx=False)
    assert line.endswith("8 classes · memory://net: README.md, config.json, model.safetensors")
    assert list_files("memory://net") == ["README.md", "config.json", "model.safetensors"]
    assert json.loads(read_bytes("memory://net/config.json"))["_class_names"] == NAMES


def test_without_the_packages_the_error_names_the_extra(experiment, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"--onnx: .*pip install 'qaclims_ray\[onnx\]'"):
        export.run(experiment, str(tmp_path / "out"), onnx=True)
    assert not (tmp_path / "out").exists()


def test_a_segmenter_that_is_not_trained_names_its_job(make_experiment, tmp_path):
    with pytest.raises(ValueError, match=r"run qaclims train-segmenter first"):
        export.run(make_experiment(tmp_path), str(tmp_path / "out"), onnx=False)
