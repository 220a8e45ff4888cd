"""What the search counts is what the stage `refine` writes."""

import numpy as np
import pytest

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.metrics.confusion import count, mean_iou
from qaclims_ray.refine.labelling import mask_labeller, picture, seed_labeller
from qaclims_ray.refine.stage import load_irn
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import look_up, read_table
from qaclims_ray.search.sweep import add_up, count_masks, count_seeds, shared_background
from qaclims_ray.search.thresholds import seed_scores
from qaclims_ray.types import IGNORE

THRESHOLDS = [0.1, 0.2, 0.3, 0.5]


@pytest.fixture(scope="module")
def names(demo_run):
    return read_table(artifact(demo_run, "images"), ["name"])["name"].to_pylist()


def _written(experiment, name):
    rows = read_table(artifact(experiment, name)).to_pylist()
    return {row["name"]: row_label_map(row) for row in rows}


def _labelled(experiment, label):
    """Label maps as the stage makes them, by one of its labellers."""
    rows = read_table(artifact(experiment, "images"), ["name", "image"]).to_pylist()
    images = {row["name"]: row["image"] for row in rows}
    cams = read_table(artifact(experiment, "cams")).to_pylist()
    return {
        name: label_map
        for own, pictured in picture(cams, images, max_pixels=10**6, max_images=32)
        for name, label_map in zip(own, label(pictured), strict=True)
    }


def _counted(experiment, label_maps):
    """Confusion matrix of the decided pixels, and the share of them."""
    images = artifact(experiment, "images")
    num_classes = len(class_names(images))
    total, num_pixels = 0, 0
    for row in look_up(images, list(label_maps), ["name", "mask"]).to_pylist():
        label_map, truth = label_maps[row["name"]], decode_mask(row["mask"])
        decided = np.where(label_map == IGNORE, np.uint8(IGNORE), truth)
        total = total + count(label_map, decided, num_classes)
        num_pixels += np.sum(truth != IGNORE)
    return total, total.sum() / num_pixels


def _check_seeds(experiment, names, label_maps):
    seeds = experiment.refine.seeds
    wanted = seeds.foreground, seeds.background
    scores = seed_scores(count_seeds(experiment, names, THRESHOLDS), THRESHOLDS)
    (found,) = (one for one in scores if (one["foreground"], one["background"]) == wanted)
    confusion, coverage = _counted(experiment, label_maps)
    assert 0 < coverage < 1
    assert (found["coverage"], found["miou"]) == pytest.approx(
        (coverage, float(mean_iou(confusion)))
    )


def test_seeds_and_masks_of_the_run_have_the_scores_of_their_thresholds(demo_run, names):
    assert (demo_run.refine.seeds.kind, demo_run.refine.masks.kind) == ("par", "irn")
    _check_seeds(demo_run, names, _written(demo_run, "seeds"))
    confusion, _ = _counted(demo_run, _written(demo_run, "masks"))
    place = THRESHOLDS.index(demo_run.refine.masks.background)
    assert np.array_equal(count_masks(demo_run, names, THRESHOLDS)[place], confusion)


@pytest.mark.parametrize("kind", ["par", "crf", "none"])
def test_seeds_are_counted_as_their_labeller_makes_them(demo_run, names, kind):
    overrides = {"refine.seeds.kind": kind, "refine.seeds.foreground": 0.5}
    experiment = demo_run.with_overrides(overrides)
    _check_seeds(
        experiment, names, _labelled(experiment, seed_labeller(experiment.refine.seeds, "cpu"))
    )


@pytest.mark.parametrize("kind", ["irn", "par", "none"])
def test_masks_are_counted_as_their_labeller_makes_them(demo_run, names, kind):
    found = demo_run.with_overrides({"refine.masks.kind": kind})
    counts = count_masks(found, names, THRESHOLDS)
    net = load_irn(demo_run, "cpu")
    for threshold, confusion in zip(THRESHOLDS, counts, strict=True):
        one = found.with_overrides({"refine.masks.background": threshold})
        label_maps = _labelled(one, mask_labeller(one.refine.masks, net, "cpu"))
        assert np.array_equal(confusion, _counted(one, label_maps)[0])


def test_parts_of_the_images_add_up(demo_run, names):
    experiment = demo_run.with_overrides({"refine.seeds.kind": "none"})
    parts = [count_seeds(experiment, part, THRESHOLDS) for part in (names[:3], names[3:])]
    whole = count_seeds(experiment, names, THRESHOLDS)
    assert all(map(np.array_equal, add_up(*parts), whole))


def test_shared_background_counts_pixels_by_their_truth():
    label_maps = np.array([[[0, 0, 1, 0]], [[0, 2, 0, 0]]], np.uint8)
    truth = np.array([[0, 1, 1, IGNORE]], np.uint8)
    found = shared_background(label_maps, truth, 2)
    assert found[0, 0].tolist() == [1, 1, 0]
    assert found[1, 1].tolist() == [1, 1, 0]
    assert found[0, 1].tolist() == found[1, 0].tolist() == [1, 0, 0]
