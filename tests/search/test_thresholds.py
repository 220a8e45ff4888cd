import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.metrics.confusion import count, iou, mean_iou
from qaclims_ray.refine.seeds import merge_labels
from qaclims_ray.search.sweep import SeedCounts, shared_background
from qaclims_ray.search.thresholds import (
    Setting,
    choose_masks,
    choose_seeds,
    front,
    masks_line,
    seed_scores,
    seeds_line,
)
from qaclims_ray.types import IGNORE

THRESHOLDS = (0.1, 0.2, 0.3, 0.6)
SETTING = Setting(kind="par", num_choosing=3, num_held_out=2)


def _counts(label_maps, truth):
    labellings = np.stack([count(one, truth, 2) for one in label_maps])
    return SeedCounts(labellings, shared_background(label_maps, truth, 2))


def _random_counts(rng):
    """Labellings of any refinement, which need not be nested as CAMs above thresholds are."""
    label_maps = rng.integers(0, 3, (len(THRESHOLDS), 9, 7)).astype(np.uint8)
    truth = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (9, 7))
    return label_maps, truth, _counts(label_maps, truth)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_are_those_of_the_labellings_merged_at_each_pair_of_thresholds(seed):
    label_maps, truth, counts = _random_counts(np.random.default_rng(seed))
    scores = seed_scores(counts, THRESHOLDS)
    assert len(scores) == 10
    for score in scores:
        upper, lower = (THRESHOLDS.index(score[key]) for key in ("foreground", "background"))
        seeds = merge_labels(label_maps[upper], label_maps[lower])
        decided = np.where(seeds == IGNORE, np.uint8(IGNORE), truth)
        wanted = np.nanmean(iou(count(seeds, decided, 2)))
        coverage = np.sum(decided != IGNORE) / np.sum(truth != IGNORE)
        assert (score["coverage"], score["miou"]) == pytest.approx((coverage, wanted))


def test_the_best_pair_that_labels_enough_is_chosen_by_other_images_than_those_reported():
    rng = np.random.default_rng(0)
    choosing, held_out = (_random_counts(rng)[2] for _ in range(2))
    found = choose_seeds(choosing, held_out, THRESHOLDS, 0.7, SETTING)
    enough = [one for one in seed_scores(choosing, THRESHOLDS) if one["coverage"] >= 0.7]
    assert found["choosing"] == max(enough, key=lambda one: one["miou"])
    assert found["held_out"] in seed_scores(held_out, THRESHOLDS)
    assert found["held_out"]["foreground"] == found["choosing"]["foreground"]
    assert found["held_out"]["background"] == found["choosing"]["background"]
    published = found["published"]
    assert (published["foreground"], published["background"]) == (0.3, 0.1)
    assert published in seed_scores(held_out, THRESHOLDS)
    assert (found["kind"], found["num_choosing"], found["num_held_out"]) == ("par", 3, 2)
    assert f"foreground above {found['held_out']['foreground']:g}" in seeds_line(found, "uri")


def test_the_background_score_is_chosen_by_other_images_than_those_reported():
    rng = np.random.default_rng(0)
    choosing, held_out = (rng.integers(1, 9, (4, 3, 3)) for _ in range(2))
    found = choose_masks(choosing, held_out, THRESHOLDS, SETTING)
    best = int(mean_iou(choosing).argmax())
    assert found["choosing"]["background"] == found["held_out"]["background"] == THRESHOLDS[best]
    assert found["choosing"]["miou"] == pytest.approx(mean_iou(choosing)[best])
    assert found["held_out"]["miou"] == pytest.approx(mean_iou(held_out)[best])
    assert found["published"]["background"] == 0.2
    assert found["published"]["miou"] == pytest.approx(mean_iou(held_out)[1])
    assert f"background score {THRESHOLDS[best]:g}" in masks_line(found, "uri")


def _score(coverage, miou):
    return {"foreground": 0, "background": 0, "coverage": coverage, "miou": miou}


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats_by_falling_coverage(points):
    def beaten(point):
        return any(o != point and o[0] >= point[0] and o[1] >= point[1] for o in points)

    wanted = sorted((point for point in points if not beaten(point)), reverse=True)
    assert [
        (one["coverage"], one["miou"]) for one in front([_score(*point) for point in points])
    ] == wanted
