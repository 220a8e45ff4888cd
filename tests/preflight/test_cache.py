import pytest

from qaclims_ray.preflight.cache import TrainingImages
from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.train.cache import KEY
from tests.build import write_artifact


@pytest.fixture
def make(make_experiment, tmp_path):
    """An experiment with forty images of 1 MB in row groups of two, 40 MB in all."""

    def make(**overrides):
        experiment = make_experiment(tmp_path / "run", overrides)
        images = own_artifact(experiment, "images")
        if not images.shards():
            own = {"height": 6, "width": 8, "labels": [0]}
            rows = [
                {"name": f"i{number:02d}", "image": bytes([number]) * 10**6, **own}
                for number in range(40)
            ]
            write_artifact(images, rows, facts={"class_names": ["cat"]}, row_group_size=2)
        return experiment

    return make


def test_what_nodes_will_hold_is_said_with_where_and_for_which_training(make):
    images = TrainingImages(make(), ["images", "classifier", "cams", "cam_net"])
    (note,) = images.notes()
    assert note.startswith("classifier, cam_net: about 40 MB of images are copied into /")
    assert images.problems() == []
    assert 40e6 < images.held_bytes < 42e6


def test_a_smaller_cache_is_what_they_hold_and_changes_the_order(make):
    experiment = make(**{KEY: 0.04, "train.classifier.batch_size_per_worker": 4})
    images = TrainingImages(experiment, ["classifier"])
    assert images.held_bytes == 40_000_000
    (note,) = images.notes()
    assert "about 40 MB of images are more than compute.train.cache_gigabytes=0.04" in note
    assert "the order of an epoch is a shuffle of row groups" in note
    assert images.problems() == []


def test_a_cache_that_is_too_small_is_a_problem_for_each_training_with_its_batch(make):
    batches = {"train.classifier.batch_size_per_worker": 2, "train.ritc.batch_size_per_worker": 4}
    images = TrainingImages(make(**{KEY: 0.01, **batches}), ["classifier", "cam_net"])
    (problem,) = images.problems()
    assert problem.startswith("cam_net: compute.train.cache_gigabytes=0.01 is too small: each of")
    assert problem.endswith("Set it to 0.016069 at least")


def test_nothing_is_said_without_a_training_or_before_the_images_are_there(
    make, make_experiment, tmp_path
):
    assert TrainingImages(make(), ["images", "cams"]).notes() == []
    fresh = TrainingImages(make_experiment(tmp_path / "fresh"), ["images", "classifier"])
    assert (fresh.notes(), fresh.held_bytes) == ([], 0)
