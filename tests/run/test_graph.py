import pytest

from qaclims_ray.run.graph import INPUTS, RECIPES, recipe


def test_an_artifact_depends_on_all_that_its_inputs_depend_on(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    for name, inputs in INPUTS.items():
        for one in inputs:
            assert recipe(experiment, one).items() <= recipe(experiment, name).items(), (one, name)


def test_artifacts_are_made_in_the_order_of_their_inputs():
    order = list(RECIPES)
    assert all(order.index(one) < order.index(name) for name in order for one in INPUTS[name])


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
    changed = {name for name in RECIPES if recipe(one, name) != recipe(other, name)}
    assert changed == names | {"scores", "baseline_scores"}
    last = make_experiment(tmp_path)
    other = last.with_overrides({"evaluate.thresholds": [0.2]})
    changed = {name for name in RECIPES if recipe(last, name) != recipe(other, name)}
    assert changed == {"scores", "baseline_scores"}
