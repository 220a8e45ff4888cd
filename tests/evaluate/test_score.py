import json

import numpy as np
import pytest

from qaclims_ray.evaluate.confusion import mean_iou, sweep
from qaclims_ray.evaluate.score import count, full_size, report_scores

CLASSES = ("cat", "dog", "boat")
THRESHOLDS = (0.2, 0.5, 0.8)


def _row(name, classes, cams, size=None):
    cams = np.asarray(cams, np.float16)
    height, width = size or cams.shape[1:]
    return {
        "name": name,
        "height": height,
        "width": width,
        "classes": classes,
        "cam": cams.tobytes(),
        "cam_height": cams.shape[1],
        "cam_width": cams.shape[2],
    }


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(
        tmp_path, {"evaluate.thresholds": list(THRESHOLDS), "evaluate.threshold": 0.45}
    )


@pytest.fixture
def truth():
    """A cat beside a dog, and one ignored pixel."""
    label_map = np.zeros((6, 8), np.uint8)
    label_map[1:3, 1:4] = 1
    label_map[3:5, 4:8] = 2
    label_map[0, 0] = 255
    return label_map


def _perfect(truth):
    return np.stack([truth == 1, truth == 2]).astype(np.float16)


def test_maps_that_have_the_images_size_stay_as_they_are():
    cams = np.random.default_rng(0).random((2, 6, 8)).astype(np.float16)
    np.testing.assert_array_equal(full_size(_row("a", [0, 1], cams)), cams.astype(np.float32))


def test_strided_maps_grow_bilinearly_to_the_images_size():
    cams = np.array([[[0.0, 1.0]]])
    grown = full_size(_row("a", [0], cams, (2, 4)))
    np.testing.assert_allclose(grown, np.tile([0, 0.25, 0.75, 1], (1, 2, 1)))


def test_an_image_without_classes_has_no_maps():
    assert full_size(_row("a", [], np.zeros((0, 2, 2)), (6, 8))).shape == (0, 6, 8)


def test_perfect_cams_score_1(truth, png, experiment):
    rows = [_row("a", [0, 1], _perfect(truth))]
    counts = count(rows, {"a": png(truth)}, THRESHOLDS, len(CLASSES))
    np.testing.assert_allclose(mean_iou(counts), 1)
    scores = report_scores(counts, experiment, CLASSES, 1, scored="cams")
    assert scores["miou"] == [1.0, 1.0, 1.0]
    assert scores["best"]["iou"] == [1.0, 1.0, 1.0, None]
    assert scores["best"]["false_foreground"] == 0


def test_an_ignored_pixel_counts_nowhere(truth, png):
    row = _row("a", [0, 1], _perfect(truth))
    counts = count([row], {"a": png(truth)}, THRESHOLDS, len(CLASSES))
    assert counts.sum(axis=(1, 2)).tolist() == [truth.size - 1] * 3


def test_counts_of_images_add_up(truth, png):
    rng = np.random.default_rng(0)
    rows = [_row(name, [0, 1], rng.random((2, 3, 4)), truth.shape) for name in "abc"]
    masks = {name: png(np.roll(truth, shift)) for shift, name in enumerate("abc")}
    together = count(rows, masks, THRESHOLDS, len(CLASSES))
    assert together.dtype == np.int64
    alone = [
        sweep(full_size(row), [0, 1], np.roll(truth, shift), THRESHOLDS, len(CLASSES))
        for shift, row in enumerate(rows)
    ]
    np.testing.assert_array_equal(together, sum(alone))
    assert count([], masks, THRESHOLDS, len(CLASSES)).shape == (3, 4, 4)


class TestReport:
    @pytest.fixture
    def scores(self, truth, png, experiment):
        """Half of the dog is seen weakly, so that the lowest threshold is best."""
        cams = _perfect(truth)
        cams[1, 3] *= 0.3
        counts = count([_row("a", [0, 1], cams)], {"a": png(truth)}, THRESHOLDS, len(CLASSES))
        return report_scores(counts, experiment, CLASSES, 1, scored="cams")

    def test_the_best_threshold_is_that_of_the_highest_miou(self, scores):
        assert scores["miou"] == sorted(scores["miou"], reverse=True)
        assert scores["best"]["threshold"] == 0.2
        assert scores["best"]["miou"] == pytest.approx(1)

    def test_the_fixed_figures_are_at_the_nearest_threshold(self, scores):
        assert scores["fixed"]["threshold"] == 0.5
        assert scores["fixed"]["miou"] == pytest.approx(scores["miou"][1], abs=1e-6)
        assert scores["fixed"]["iou"][2] == 0.5
        assert scores["fixed"]["recall"][2] == 0.5
        assert scores["fixed"]["precision"][2] == 1

    def test_they_say_what_was_scored_how(self, scores):
        assert scores["settings"]["split"] == "train"
        assert scores["settings"]["scales"] == [1.0]
        assert scores["settings"]["scored"] == "cams"
        assert scores["settings"]["crf"] is False
        assert scores["class_names"] == ["background", *CLASSES]

    def test_they_are_plain_json_without_nan(self, scores):
        assert json.loads(json.dumps(scores, allow_nan=False)) == scores
