from importlib import import_module
from pathlib import Path

import pytest

from qaclims_ray.run.graph import ARTIFACTS, inputs_of, recipe, scores_of

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
    assert changed == names | {"scores", "baseline_scores"}
    last = make_experiment(tmp_path)
    other = last.with_overrides({"evaluate.thresholds": [0.2]})
    changed = {name for name in ARTIFACTS if recipe(last, name) != recipe(other, name)}
    assert changed == {"scores", "baseline_scores"}
