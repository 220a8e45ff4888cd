import pytest

from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.run.collapse import collapses, dead_maps, empty_maps
from tests.build import write_artifact


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(tmp_path)


def test_a_few_empty_maps_are_no_collapse(experiment):
    assert empty_maps(experiment, "cams", {"num_maps": 93, "num_empty_maps": 9}) is None
    assert empty_maps(experiment, "cams", {}) is None


def test_many_empty_maps_are_said_with_what_to_change(experiment):
    said = empty_maps(experiment, "cams", {"num_maps": 93, "num_empty_maps": 93})
    assert said is not None
    assert said.startswith("cams: 93 of 93 maps are empty")
    assert "train.ritc.loss.area" in said
    assert "qaclims train-ritc --overwrite" in said
    baseline = empty_maps(experiment, "baseline_cams", {"num_maps": 10, "num_empty_maps": 5})
    assert baseline is not None
    assert "train.classifier" in baseline
    clip = experiment.with_overrides({"cams.kind": "clip"})
    assert "check-texts" in (empty_maps(clip, "cams", {"num_maps": 2, "num_empty_maps": 2}) or "")


def test_what_has_collapsed_in_a_run_is_told_together(experiment):
    assert collapses(experiment) == []
    facts = {"num_maps": 2, "num_empty_maps": 2}
    write_artifact(own_artifact(experiment, "cams"), [], facts=facts)
    write_artifact(own_artifact(experiment, "scores"), [], facts={"flat_scores": True})
    assert [one.split(":")[0] for one in collapses(experiment)] == ["cams", "scores"]
    assert "its maps have died" in dead_maps("cam_net")
