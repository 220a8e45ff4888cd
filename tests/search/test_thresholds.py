import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.config.search import Refine
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.metrics.confusion import iou, sweep
from qaclims_ray.refine.seeds import make_seeds
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import look_up, read_table
from qaclims_ray.search.holdout import Split, write_names
from qaclims_ray.search.thresholds import choose, front, search_seeds, seed_scores, summed
from qaclims_ray.storage.files import read_json
from qaclims_ray.types import IGNORE

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)


def _of_seeds(cams, truth, foreground, background):
    """Coverage and mIoU of real seeds."""
    image = np.zeros((*truth.shape, 3), np.uint8)
    seeds = make_seeds(image, cams, [0, 1], foreground=foreground, background=background)
    known = seeds != IGNORE
    counts = np.zeros((3, 3), np.int64)
    np.add.at(counts, (truth[known], seeds[known]), 1)
    return known.mean(), np.nanmean(iou(counts))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_are_those_of_seeds_made_with_each_pair_of_thresholds(seed):
    rng = np.random.default_rng(seed)
    cams = rng.random((2, 9, 7)).astype(np.float32)
    truth = rng.integers(0, 3, (9, 7)).astype(np.uint8)
    scores = seed_scores(sweep(cams, [0, 1], truth, THRESHOLDS, 2), THRESHOLDS)
    assert len(scores) == 10
    for score in scores:
        wanted = _of_seeds(cams, truth, score["foreground"], score["background"])
        assert (score["coverage"], score["miou"]) == pytest.approx(wanted)


def test_the_best_pair_that_labels_enough_is_chosen_by_other_images_than_those_reported():
    rng = np.random.default_rng(0)
    choosing, held_out = (
        sweep(
            rng.random((2, 30, 30)).astype(np.float32),
            [0, 1],
            rng.integers(0, 3, (30, 30)).astype(np.uint8),
            THRESHOLDS,
            2,
        )
        for _ in range(2)
    )
    found = choose(choosing, held_out, THRESHOLDS, 0.7)
    enough = [one for one in seed_scores(choosing, THRESHOLDS) if one["coverage"] >= 0.7]
    assert found["choosing"] in enough
    assert found["choosing"]["miou"] == max(one["miou"] for one in enough)
    assert found["held_out"] in seed_scores(held_out, THRESHOLDS)
    assert found["held_out"]["foreground"] == found["choosing"]["foreground"]
    published = found["published"]
    assert (published["foreground"], published["background"]) == (0.3, 0.1)


def test_the_front_holds_what_nothing_beats_in_both():
    pairs = [(1.0, 0.2), (0.9, 0.5), (0.8, 0.4), (0.7, 0.6), (0.9, 0.3)]
    scores = [
        {"foreground": 0, "background": 0, "coverage": coverage, "miou": miou}
        for coverage, miou in pairs
    ]
    assert [(one["coverage"], one["miou"]) for one in front(scores)] == [
        (1.0, 0.2),
        (0.9, 0.5),
        (0.7, 0.6),
    ]


def test_counts_of_the_scores_are_those_of_the_cams(demo_run):
    names = read_table(artifact(demo_run, "images"), ["name"])["name"].to_pylist()[:3]
    num_classes = len(class_names(artifact(demo_run, "images")))
    wanted = 0
    masks = look_up(artifact(demo_run, "images"), names, ["mask"])["mask"].to_pylist()
    for row, mask in zip(
        read_table(artifact(demo_run, "cams")).to_pylist()[:3], masks, strict=True
    ):
        truth = decode_mask(mask)
        thresholds = demo_run.evaluate.thresholds
        wanted += sweep(full_size(row), row["classes"], truth, thresholds, num_classes)
    assert np.array_equal(summed(artifact(demo_run, "scores"), names, num_classes), wanted)


def test_a_search_over_cached_cams_trains_nothing(demo_run, tmp_path):
    experiment = demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run]})
    names = write_names(experiment, f"{tmp_path}/search")
    line = search_seeds(experiment, names, Refine(min_coverage=0.5))
    found = read_json(f"{tmp_path}/search/seeds.json")
    assert found["choosing"]["coverage"] >= 0.5
    assert f"foreground above {found['held_out']['foreground']:g}" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["search"]


def test_without_scores_the_job_to_run_is_named(make_experiment, tmp_path):
    with pytest.raises(ValueError, match=r"run jobs/evaluate\.py first"):
        search_seeds(make_experiment(tmp_path), Split([], []), Refine())
