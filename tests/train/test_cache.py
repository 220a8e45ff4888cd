import logging
import shutil
from types import SimpleNamespace

import pytest

from qaclims_ray.config.compute import Workers
from qaclims_ray.run.artifact import own_artifact
from qaclims_ray.train.cache import (
    KEY,
    buffered_set,
    cache_problem,
    check_order,
    plan,
    require_room,
    save_whole,
)
from tests.build import write_artifact


@pytest.fixture
def make(make_experiment, tmp_path, png, truth):
    """An experiment with twenty images in row groups of two, which take about 200 kB."""
    rows = [
        {
            "name": f"i{number:02d}",
            "image": bytes([number]) * 2000,
            "height": 6,
            "width": 8,
            "labels": [number % 3],
        }
        for number in range(20)
    ]

    def make(**overrides):
        batch = {"train.classifier.batch_size_per_worker": 2}
        experiment = make_experiment(tmp_path / "run", {**batch, **overrides})
        images = own_artifact(experiment, "images")
        facts = {"class_names": ["cat", "dog", "boat"]}
        write_artifact(images, rows, facts=facts, row_group_size=2)
        return experiment

    return make


def test_all_images_are_copied_unless_a_cache_is_too_small_for_them(make, caplog):
    assert plan(make(), "classifier").buffer_bytes is None
    fits = plan(make(**{KEY: 1}), "classifier")
    assert fits.buffer_bytes is None
    assert buffered_set(fits) is None
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        made = plan(make(**{KEY: 0.0001}), "classifier")
    assert made.buffer_bytes == 100_000
    assert buffered_set(made).buffer_bytes == 100_000
    assert caplog.text.count("the order of an epoch is a shuffle of row groups") == 1
    assert "more than compute.train.cache_gigabytes=0.0001" in caplog.text


def test_a_cache_too_small_for_two_row_groups_of_each_image_is_refused_with_the_least(make):
    with pytest.raises(ValueError, match="each of the 2 images of a step needs room") as caught:
        plan(make(**{KEY: 0.00002}), "classifier")
    least = str(caught.value).rpartition("Set it to ")[2].split()[0]
    made = plan(make(**{KEY: float(least)}), "classifier")
    assert made.buffer_bytes == pytest.approx(4 * made.found.groups.sizes.max(), abs=1000)
    with pytest.raises(ValueError, match="is too small"):
        plan(make(**{KEY: float(least) - 2e-6}), "classifier")


def test_sampling_that_draws_from_all_images_is_refused_with_what_to_do(make):
    sampling = {"train.classifier.balance": "sampling"}
    assert plan(make(**sampling), "classifier").buffer_bytes is None
    told = r"train\.classifier\.balance=sampling draws images from the whole set.*or to null"
    with pytest.raises(ValueError, match=told):
        plan(make(**sampling, **{KEY: 0.0001}), "classifier")
    weights = {"train.classifier.balance": "weights", KEY: 0.0001}
    assert plan(make(**weights), "classifier").buffer_bytes == 100_000


def test_no_step_of_any_training_needs_more_than_the_whole_set(make):
    assert "Set it to 1 at least" in str(
        cache_problem(make(**{KEY: 0.5}), "classifier", 10**9, 10**9)
    )


def test_a_disk_without_room_is_an_error_before_anything_is_written(make, tmp_path, monkeypatch):
    made = plan(make(), "classifier")
    usage = SimpleNamespace(free=made.found.num_bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    told = rf"{tmp_path}.*make room.*or set compute\.train\.cache_gigabytes"
    with pytest.raises(ValueError, match=told):
        save_whole(made, tmp_path / "rows")
    assert not (tmp_path / "rows").exists()
    require_room(str(tmp_path), usage.free)
    buffered = plan(make(**{KEY: 0.0001}), "classifier")
    usage.free = 99_999
    with pytest.raises(ValueError, match="are free there"):
        buffered_set(buffered)


def test_a_training_goes_on_in_the_order_that_it_began_with():
    check_order(None, None)
    check_order(100, 100)
    with pytest.raises(ValueError, match=r"cache_gigabytes: set it to 20, as it was"):
        check_order(20 * 10**9, None)
    with pytest.raises(ValueError, match="set it to null, or to more than the images take"):
        check_order(None, 10**9)


@pytest.mark.parametrize("value", [0, -1, "much"])
def test_a_cache_of_nothing_is_refused(value):
    with pytest.raises(ValueError, match="cache_gigabytes"):
        Workers(cache_gigabytes=value)
