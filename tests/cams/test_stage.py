import numpy as np
import pytest

from qaclims_ray.cams import stage
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.model.predictor import CamPredictor, load_cam_net
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_table

COLUMNS = ["name", "image", "height", "width", "labels"]


@pytest.mark.parametrize(
    ("name", "network"), [("cams", "cam_net"), ("baseline_cams", "classifier")]
)
def test_cams_are_those_of_the_network(demo_run, name, network):
    images = read_table(artifact(demo_run, "images"), COLUMNS).to_pylist()
    model = f"{artifact(demo_run, network).uri}/model.safetensors"
    net = load_cam_net(model, demo_run.model.backbone, len(CLASSES)).cpu()
    made = read_table(artifact(demo_run, name)).to_pylist()
    # Ray Data hands images over in batches of its own; convolutions may round otherwise there.
    expected = CamPredictor(net, **demo_run.cams.fusion(), max_images=32).predict_rows(
        images, 100_000
    )
    assert [row["name"] for row in made] == [row["name"] for row in images]
    for row, other in zip(made, expected, strict=True):
        assert {**row, "cam": None} == {**other, "cam": None}
        assert _close(row["cam"], other["cam"])


def _close(one, other):
    return np.allclose(np.frombuffer(one, np.float16), np.frombuffer(other, np.float16), atol=2e-3)


def test_baseline_and_qa_clims_differ(demo_run):
    one, other = (read_table(artifact(demo_run, name)) for name in ("cams", "baseline_cams"))
    assert one["name"] == other["name"]
    assert one["cam"] != other["cam"]


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "map_actor", None)
    assert stage.run(demo_run).startswith("cams: complete already, 8 rows")
    line = stage.run(demo_run, "baseline_cams")
    assert line.startswith("baseline_cams: complete already, 8 rows")


def test_without_a_network_the_job_that_trains_it_is_named(demo_run, tmp_path):
    fresh = demo_run.with_overrides(
        {"run": str(tmp_path), "base": [demo_run.run], "train.seed": 77}
    )
    with pytest.raises(ValueError, match=r"cam_net is not complete: run jobs/train_ritc\.py first"):
        stage.run(fresh)
    with pytest.raises(ValueError, match=r"run jobs/train_classifier\.py first"):
        stage.run(fresh, "baseline_cams")
