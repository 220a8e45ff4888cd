"""Our scores beside scikit-learn's, which counts pixel by pixel and class by class."""

import numpy as np
import pytest
from sklearn import metrics

from qaclims_ray.evaluate.rows import tally
from qaclims_ray.evaluate.score import report_scores
from qaclims_ray.metrics.confusion import count, levels

CLASSES = ("cat", "dog", "boat", "bus")
THRESHOLDS = (0.3, 0.6)
ALL = range(len(CLASSES) + 1)


@pytest.fixture(scope="module")
def images():
    """CAMs, their classes and the ground truth; class 3 is nowhere."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.random((2, 20, 30), dtype=np.float32),
            classes,
            rng.choice(np.array([0, 1, 2, 4, 255], np.uint8), (20, 30)),
        )
        for classes in ([0, 1], [1, 3], [3, 0])
    ]


def _pixels(images, threshold):
    """Truth and prediction of all known pixels, the plain way."""
    pairs = []
    for cams, classes, truth in images:
        best = np.array(classes)[cams.argmax(0)] + 1
        prediction = np.where(cams.max(0) > threshold, best, 0)
        pairs.append(np.stack([truth, prediction])[:, truth != 255])
    return np.concatenate(pairs, axis=1)


@pytest.fixture(scope="module")
def scores(images, make_experiment, tmp_path_factory):
    overrides = {"evaluate.thresholds": list(THRESHOLDS), "evaluate.threshold": THRESHOLDS[1]}
    experiment = make_experiment(tmp_path_factory.mktemp("run"), overrides)
    tallies = [
        tally(*levels(cams, classes, THRESHOLDS), truth, len(THRESHOLDS), len(CLASSES))
        for cams, classes, truth in images
    ]
    return report_scores(tallies, experiment, CLASSES, scored="cams")


@pytest.mark.parametrize("kind", ["best", "fixed"])
def test_scores_per_class_and_their_means_are_the_same(images, scores, kind):
    figures = scores[kind]
    truth, prediction = _pixels(images, figures["threshold"])
    there = [0, 1, 2, 4]
    for name, function in (
        ("iou", metrics.jaccard_score),
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
    ):
        expected = function(truth, prediction, labels=there, average=None)
        found = [figures[name][index] for index in there]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert figures["iou"][3] is None
    macro = metrics.jaccard_score(truth, prediction, labels=there, average="macro")
    assert figures["miou"] == pytest.approx(macro, abs=1e-6)
    assert figures["false_foreground"] == pytest.approx(
        np.mean(truth[prediction > 0] == 0), abs=1e-6
    )


def test_confusion_matrices_are_the_same(images):
    _, _, truth = images[0]
    prediction = np.random.default_rng(1).integers(0, 5, truth.shape)
    known = truth != 255
    expected = metrics.confusion_matrix(truth[known], prediction[known], labels=ALL)
    np.testing.assert_array_equal(count(prediction, truth, len(CLASSES)), expected)
