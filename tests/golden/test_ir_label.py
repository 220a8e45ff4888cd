"""Seeds with and without CRF, and masks from the random walk."""

import numpy as np
import pytest
import torch

from qaclims_ray.model import crf
from qaclims_ray.model.affinity import random_walk
from qaclims_ray.model.irn import reduce_labels
from qaclims_ray.refine import seeds, walk


@pytest.fixture(scope="module")
def data(golden):
    return golden("ir_label")


@pytest.fixture(scope="module")
def arrays(data):
    return data.arrays


def _seeds(arrays, refine=None):
    classes, thresholds = arrays["keys"].tolist(), (0.3, 0.1)
    both = seeds.cam_label_maps(
        arrays["img"], arrays["high_res"], classes, thresholds, refine=refine
    )
    return seeds.merge_labels(*both)


def test_seeds_without_crf(arrays):
    np.testing.assert_array_equal(_seeds(arrays), arrays["ir_label_nocrf"])


def test_labellings_that_enter_the_crf(arrays):
    for call, threshold in enumerate((0.3, 0.1)):
        labels = seeds.label_cams(arrays["high_res"], threshold)
        np.testing.assert_array_equal(labels, arrays[f"crf_in_{call}"])


def test_all_combinations_of_two_labellings(arrays):
    values = np.append(0, arrays["keys"] + 1).astype(np.uint8)
    labels = seeds.merge_labels(values[arrays["combo_fg_pred"]], values[arrays["combo_bg_pred"]])
    np.testing.assert_array_equal(labels, arrays["ir_label_combo"])


def test_seeds_with_given_crf_results(arrays):
    results = iter([arrays["crf_out_0"], arrays["crf_out_1"]])
    labels = _seeds(arrays, refine=lambda *_: next(results))
    np.testing.assert_array_equal(labels, arrays["ir_label_crf"])


def test_seeds_with_dense_crf(arrays):
    pytest.importorskip("pydensecrf")
    np.testing.assert_array_equal(_seeds(arrays, refine=crf.dense_crf), arrays["ir_label_crf"])


def test_mask_from_the_walk(data, arrays):
    cams, edge = data["semseg_strided_cam"], data["semseg_edge"][0]
    expected = data["semseg_rw"][:, 0]
    scores = random_walk(cams, edge)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-3 * float(expected.max()))
    classes, size = arrays["keys"].tolist(), arrays["semseg_png"].shape
    mask = walk.scores_to_mask(scores, classes, size, background=0.2)
    assert (mask == arrays["semseg_png"]).mean() >= 0.999


def test_label_reduction(data):
    reduced = reduce_labels(data["label64"][None])
    assert torch.equal(reduced[0], data["label64_reduced"])
