from importlib import import_module
from pathlib import Path

import pytest

from qaclims_ray.run.graph import ARTIFACTS, inputs_of, is_needed, recipe, scores_of

ROOT = Path(__file__).parents[2]


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
    for spec in ARTIFACTS.values():
        assert (ROOT / "jobs" / spec.job.partition(" ")[0]).is_file()
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
