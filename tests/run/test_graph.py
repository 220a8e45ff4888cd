from importlib import import_module

import pytest

from qaclims_ray.config.renamed import current_keys
from qaclims_ray.jobs.command import COMMANDS
from qaclims_ray.preflight.check import artifacts_until
from qaclims_ray.run.graph import (
    ARTIFACTS,
    inputs_of,
    is_needed,
    scores_of,
    title_of,
)
from qaclims_ray.run.recipe import recipe


def test_an_artifact_depends_on_all_that_its_inputs_depend_on(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    for name in ARTIFACTS:
        for one in inputs_of(experiment, name):
            assert recipe(experiment, one).items() <= recipe(experiment, name).items(), (one, name)


def test_artifacts_are_made_in_the_order_of_their_inputs():
    order = list(ARTIFACTS)
    places = [
        (order.index(one), order.index(name)) for name in order for one in ARTIFACTS[name].inputs
    ]
    assert all(before < after for before, after in places)


def test_every_job_and_stage_of_the_table_exists():
    commands = {command.name for command in COMMANDS}
    for spec in ARTIFACTS.values():
        assert spec.job.partition(" ")[0] in commands
        assert callable(import_module(f"qaclims_ray.{spec.stage}").run)


def test_every_network_has_cams_and_all_cams_have_scores():
    assert {scores_of(name) for name in ("cams", "baseline_cams")} == {"scores", "baseline_scores"}
    assert scores_of("images") is None


AFTER_CAMS = {
    *("seeds", "seed_scores", "irn", "masks", "mask_scores"),
    *("segmenter", "predictions", "prediction_scores"),
    *("new_predictions", "new_prediction_scores"),
}
"""What is made from the CAMs of QA-CLIMS."""


@pytest.mark.parametrize(
    ("fit", "names"),
    [
        ("classifier", {"classifier", "cam_net", "baseline_cams", "cams"}),
        ("ritc", {"cam_net", "cams"}),
    ],
)
def test_weights_chosen_by_scores_depend_on_what_makes_the_scores(
    make_experiment, tmp_path, fit, names
):
    best = {f"train.{fit}.validate_every": 1, f"train.{fit}.keep": "best"}
    one = make_experiment(tmp_path, best)
    other = one.with_overrides({"evaluate.thresholds": [0.2]})
    changed = {name for name in ARTIFACTS if recipe(one, name) != recipe(other, name)}
    assert changed == names | {"scores", "baseline_scores", *AFTER_CAMS}
    last = make_experiment(tmp_path)
    other = last.with_overrides({"evaluate.thresholds": [0.2]})
    changed = {name for name in ARTIFACTS if recipe(last, name) != recipe(other, name)}
    assert changed == {"scores", "baseline_scores"}


def test_masks_without_the_walk_need_no_boundary_network(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    assert "irn" in inputs_of(experiment, "masks")
    other = experiment.with_overrides({"refine.masks.kind": "par"})
    assert not is_needed(other, "irn")
    assert "irn" not in inputs_of(other, "masks")
    assert not any(key.startswith("train.irn") for key in recipe(other, "masks"))


TRAINED = {"texts", "classifier", "cam_net", "clip_cams", "baseline_cams", "baseline_scores"}
"""What CAMs of a CLIP do without."""
ANSWERED = {"corpus", "pairs"}
"""What class names and fixed background words do without."""


def test_cams_of_a_clip_need_no_training(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path, {"cams.kind": "clip"})
    assert inputs_of(experiment, "cams") == ("images", "pairs", "cam_texts")
    assert set(ARTIFACTS).difference(artifacts_until("", experiment)) == TRAINED
    made = recipe(experiment, "cams")
    assert not any(key.startswith(("train.", "model.")) for key in made)
    assert made["cams.kind"] == "clip"
    assert "cams.activation" not in made
    titles = [title_of(experiment, name) for name in ("cams", "scores", "baseline_cams")]
    assert titles == ["CLIP CAM", "CLIP CAM", "Baseline CAM"]


@pytest.mark.parametrize(
    ("overrides", "needless"),
    [
        ({"cams.backgrounds": "fixed", "corpus.texts.foreground": "class_name"}, True),
        ({"cams.backgrounds": "none", "corpus.texts.foreground": "class_name"}, True),
        ({"cams.backgrounds": "fixed"}, False),
        ({"cams.backgrounds": "both", "corpus.texts.foreground": "class_name"}, False),
        ({"cams.kind": "network", "cams.backgrounds": "fixed"}, False),
    ],
)
def test_where_no_answer_counts_none_is_asked_for(make_experiment, tmp_path, overrides, needless):
    experiment = make_experiment(tmp_path, {"cams.kind": "clip", **overrides})
    left_out = set(ARTIFACTS).difference(artifacts_until("", experiment))
    assert left_out.issuperset(ANSWERED) == needless
    assert ("pairs" not in inputs_of(experiment, "cam_texts")) == needless
    assert any(key.startswith("corpus.engine") for key in recipe(experiment, "seeds")) != needless


def test_options_of_the_clip_change_no_cams_of_a_network(make_experiment, tmp_path):
    one = make_experiment(tmp_path)
    other = one.with_overrides({"cams.clip.flip": True, "cams.backgrounds": "both"})
    changed = {name for name in ARTIFACTS if recipe(one, name) != recipe(other, name)}
    assert changed == {"clip_cams"}
    assert not is_needed(one, "clip_cams")
    assert "cams.kind" not in recipe(one, "cams")


def test_clip_cams_are_made_where_ritc_learns_them(make_experiment, tmp_path):
    one = make_experiment(tmp_path)
    other = one.with_overrides({"train.ritc.loss.clip_cams": 1.0})
    more = set(artifacts_until("", other)).difference(artifacts_until("", one))
    assert more == {"cam_texts", "clip_cams"}
    assert set(inputs_of(other, "cam_net")) == {*inputs_of(one, "cam_net"), "clip_cams"}
    assert recipe(other, "clip_cams").items() <= recipe(other, "cam_net").items()
    changed = other.with_overrides({"cams.clip.flip": not other.cams.clip.flip})
    assert recipe(changed, "cam_net") != recipe(other, "cam_net")
    by_clip = other.with_overrides({"cams.kind": "clip"})
    assert not is_needed(by_clip, "clip_cams")


def test_networks_of_before_are_those_without_clip_cams(make_experiment, tmp_path):
    now = recipe(make_experiment(tmp_path), "cam_net")
    before = {key: value for key, value in now.items() if key != "train.ritc.loss.clip_cams"}
    assert current_keys(before) == now


def test_the_baseline_stays_beside_cams_of_a_clip(make_experiment, tmp_path):
    one = make_experiment(tmp_path)
    other = one.with_overrides({"cams.kind": "clip"})
    changed = {name for name in ARTIFACTS if recipe(one, name) != recipe(other, name)}
    assert changed == {"cams", "scores", *AFTER_CAMS}
    assert inputs_of(other, "baseline_cams") == ("images", "classifier")
