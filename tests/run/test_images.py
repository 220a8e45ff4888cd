import pytest

from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import names_to_score
from tests.build import write_artifact


@pytest.mark.parametrize("shown", [0, 1])
def test_masks_that_show_no_class_are_not_scored_with(make_experiment, tmp_path, shown):
    experiment = make_experiment(tmp_path)
    masks = {"shown": {"cat": shown, "dog": 0}, "ignored": 0.25}
    rows = [{"name": "a", "labels": [0], "mask": b"m"}]
    write_artifact(artifact(experiment, "images"), rows, facts={"masks": masks})
    if shown:
        assert names_to_score(experiment) == ["a"]
        return
    with pytest.raises(ValueError, match=r"no mask shows any class \(25\.0% of all pixels are"):
        names_to_score(experiment)


@pytest.mark.parametrize("facts", [{}, {"masks": None}])
def test_runs_of_before_are_scored(make_experiment, tmp_path, facts):
    experiment = make_experiment(tmp_path)
    rows = [{"name": "a", "labels": [0], "mask": b"m"}]
    write_artifact(artifact(experiment, "images"), rows, facts=facts)
    assert names_to_score(experiment) == ["a"]
