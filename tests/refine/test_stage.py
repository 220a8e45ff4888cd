import numpy as np
import pytest

from qaclims_ray.images.cams import full_size, unpack_cams
from qaclims_ray.images.decode import decode
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.model.crf import dense_crf
from qaclims_ray.refine import stage
from qaclims_ray.refine.par import par_label_maps
from qaclims_ray.refine.seeds import cam_label_maps, label_cams, merge_labels
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.types import IGNORE


@pytest.fixture(scope="module")
def inputs(demo_run):
    """Rows of images and CAMs of the demo run, by name."""
    images = {row["name"]: row for row in read_table(artifact(demo_run, "images")).to_pylist()}
    cams = read_table(artifact(demo_run, "cams")).to_pylist()
    return [(decode(images[row["name"]]["image"]), row) for row in cams]


def _label_maps(experiment, name):
    rows = read_table(artifact(experiment, name)).to_pylist()
    return {row["name"]: row_label_map(row) for row in rows}


@pytest.fixture
def own(demo_run, tmp_path):
    """A run of its own upon the demo run."""
    return lambda **values: demo_run.with_overrides(
        {"run": str(tmp_path / "own"), "base": [demo_run.run], **values}
    )


def _expected(image, row, kind):
    thresholds, classes = (0.3, 0.1), row["classes"]
    if kind == "par":
        settings = {"num_steps": 10, "stride": 2, "device": "cpu"}
        (both,) = par_label_maps([image], [unpack_cams(row)], [classes], thresholds, **settings)
    else:
        refine = dense_crf if kind == "crf" else None
        both = cam_label_maps(image, full_size(row), classes, thresholds, refine=refine)
    return merge_labels(*both)


@pytest.mark.parametrize("kind", ["par", "crf", "none"])
def test_the_stage_writes_what_the_functions_make(demo_run, own, inputs, kind):
    experiment = own(**{"refine.seeds.kind": kind})
    stage.run(experiment, "seeds")
    made = _label_maps(experiment, "seeds")
    assert len(made) == len(inputs) == 8
    for image, row in inputs:
        expected = _expected(image, row, kind)
        # Images that share a batch may round otherwise; a pixel at a tie may change.
        assert np.mean(made[row["name"]] != expected) < 0.002


def test_a_row_states_the_share_of_decided_pixels(demo_run):
    for row in read_table(artifact(demo_run, "seeds")).to_pylist():
        assert row["decided"] == pytest.approx(np.mean(row_label_map(row) != IGNORE))


@pytest.mark.parametrize("kind", ["par", "none"])
def test_masks_without_a_boundary_network(demo_run, own, inputs, kind):
    experiment = own(**{"refine.masks.kind": kind, "refine.masks.background": 0.3})
    stage.run(experiment, "masks")
    made = _label_maps(experiment, "masks")
    for image, row in inputs:
        if kind == "par":
            cams, classes = [unpack_cams(row)], [row["classes"]]
            (maps,) = par_label_maps(
                [image], cams, classes, [0.3], num_steps=10, stride=2, device="cpu"
            )
            expected = maps[0]
        else:
            values = np.array([0, *(index + 1 for index in row["classes"])])
            expected = values[label_cams(full_size(row), 0.3)]
        assert np.mean(made[row["name"]] != expected) < 0.002
    assert "irn" not in artifact(experiment, "masks").require()["inputs"]


def test_masks_of_the_walk_decide_every_pixel_and_hold_only_the_labels(demo_run, inputs):
    made = _label_maps(demo_run, "masks")
    for _, row in inputs:
        legal = {0, *(index + 1 for index in row["classes"])}
        assert set(np.unique(made[row["name"]])) <= legal
    assert "irn" in artifact(demo_run, "masks").require()["inputs"]


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "map_actor", None)
    assert stage.run(demo_run, "seeds").startswith("seeds: complete already, 8 rows")
    assert stage.run(demo_run, "masks").startswith("masks: complete already, 8 rows")


def test_other_thresholds_are_another_configuration(demo_run):
    changed = demo_run.with_overrides({"refine.seeds.foreground": 0.5})
    with pytest.raises(ValueError, match=r"refine\.seeds\.foreground: 0\.5 → 0\.3|0\.3 → 0\.5"):
        stage.run(changed, "seeds")


def test_thresholds_in_the_wrong_order_are_refused(demo_run):
    with pytest.raises(ValueError, match=r"background: 0\.4 is more than foreground: 0\.3"):
        demo_run.with_overrides({"refine.seeds.background": 0.4})
