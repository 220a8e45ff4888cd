"""Confusion, IoU, mIoU and the threshold sweep of the published evaluation."""

import numpy as np
import pytest

from qaclims_ray.metrics import confusion as c

NUM_CLASSES = 20
EXACTLY = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module")
def evaluate(golden):
    return golden("evaluate")


@pytest.fixture(scope="module")
def images(evaluate):
    arrays = evaluate.arrays
    return [
        (arrays[f"i{i}_high_res"], arrays[f"i{i}_keys"].tolist(), arrays[f"i{i}_gt"])
        for i in range(len(evaluate.meta["ids"]))
    ]


def _sweep(images, thresholds):
    return sum(c.sweep(*image, thresholds, NUM_CLASSES) for image in images)


def _zero_for_nan(values):
    return np.where(np.isnan(values), -1, values)


def test_sweep_counts_and_scores(evaluate, images):
    arrays = evaluate.arrays
    confusion = _sweep(images, arrays["thresholds_f64"])
    np.testing.assert_array_equal(confusion, arrays["sweep_confusion"])
    np.testing.assert_allclose(c.mean_iou(confusion), arrays["sweep_miou_f64"], **EXACTLY)
    np.testing.assert_allclose(_zero_for_nan(c.iou(confusion)), arrays["sweep_iou_f64"], **EXACTLY)


def test_best_threshold_is_the_global_maximum(evaluate, images):
    miou, threshold = evaluate.meta["best_full"]
    thresholds = evaluate.arrays["thresholds_f64"]
    best = c.best_threshold(_sweep(images, thresholds), thresholds)
    np.testing.assert_allclose(best, (threshold, miou), **EXACTLY)


def test_sweep_with_many_ties(evaluate, images):
    thresholds = evaluate.arrays["thresholds_f64"]
    quantised = [
        (np.round(np.float32(16) * cams) / np.float32(16), keys, truth)
        for cams, keys, truth in images
    ]
    scores = c.mean_iou(_sweep(quantised, thresholds))
    np.testing.assert_allclose(scores, evaluate.arrays["quant16_sweep_miou_f64"], **EXACTLY)


def test_one_threshold(evaluate, images):
    arrays, meta = evaluate.arrays, evaluate.meta
    confusion = _sweep(images, [meta["cam_eval_thres"]])[0]
    np.testing.assert_array_equal(confusion, arrays["confusion_015"])
    np.testing.assert_allclose(_zero_for_nan(c.iou(confusion)), arrays["iou_015_f64"], **EXACTLY)
    np.testing.assert_allclose(c.mean_iou(confusion), meta["miou_at_015"], **EXACTLY)
    np.testing.assert_allclose(c.false_foreground(confusion), meta["among_predfg_bg"], **EXACTLY)


def test_label_maps(evaluate, images):
    arrays, meta = evaluate.arrays, evaluate.meta
    confusion = sum(
        c.count(arrays[f"i{i}_semseg_pred"], truth, NUM_CLASSES)
        for i, (_, _, truth) in enumerate(images)
    )
    np.testing.assert_array_equal(confusion, arrays["semseg_confusion"])
    np.testing.assert_allclose(c.mean_iou(confusion), meta["semseg_miou"], **EXACTLY)
    printed = [float(word) for word in meta["semseg_stdout"][1].split()]
    background = (c.false_positives(confusion)[0], c.false_negatives(confusion)[0])
    np.testing.assert_allclose(background, printed, **EXACTLY)


def test_signed_ignore(evaluate):
    confusion = c.count(np.array([[0, 2], [1, 1]]), np.array([[0, 2], [-1, 4]]), 4)
    np.testing.assert_array_equal(confusion, evaluate.arrays["dyn_confusion"])
