import pytest

from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import identity_without_masks
from qaclims_ray.run.scored import scored_images
from tests.build import write_artifact


@pytest.mark.parametrize("shown", [0, 1])
def test_masks_that_show_no_class_are_not_scored_with(make_experiment, tmp_path, shown):
    experiment = make_experiment(tmp_path)
    masks = {"shown": {"cat": shown, "dog": 0}, "ignored": 0.25}
    rows = [{"name": "a", "labels": [0], "mask": b"m"}]
    write_artifact(artifact(experiment, "images"), rows, facts={"masks": masks})
    if shown:
        assert [*scored_images(experiment).names()] == ["a"]
        return
    with pytest.raises(ValueError, match=r"no mask shows any class \(25\.0% of all pixels are"):
        scored_images(experiment)


@pytest.mark.parametrize("facts", [{}, {"masks": None}])
def test_runs_of_before_are_scored(make_experiment, tmp_path, facts):
    experiment = make_experiment(tmp_path)
    rows = [{"name": "a", "labels": [0], "mask": b"m"}]
    write_artifact(artifact(experiment, "images"), rows, facts=facts)
    assert [*scored_images(experiment).names()] == ["a"]


def test_an_identity_without_masks_knows_all_else(make_experiment, tmp_path):
    def identity(names=("cat", "dog"), **changed):
        images = artifact(make_experiment(tmp_path / str(changed)), "images")
        row = {"name": "a", "image": b"i", "labels": [0], "mask": None}
        write_artifact(images, [{**row, **changed}])
        return identity_without_masks(images, names)

    assert (
        identity() == identity(mask=b"m") == "12de6be66d5ed5eeb7aba135919a8180"
    )  # what runs of before have, too
    others = {"name": "b"}, {"image": b"j"}, {"labels": [1]}, {"labels": None}, {"labels": []}
    different = [identity(), identity(names=("dog", "cat")), *(identity(**one) for one in others)]
    assert len(set(different)) == len(different)
