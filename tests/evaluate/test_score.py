import json

import numpy as np
import pytest

from qaclims_ray.evaluate.rows import tally
from qaclims_ray.evaluate.score import report_label_maps, report_scores
from qaclims_ray.images.cams import full_size
from qaclims_ray.metrics.confusion import levels

CLASSES = ("cat", "dog", "boat")
THRESHOLDS = (0.2, 0.5, 0.8)
BEST = {"keep": "best", "validate_every": 1}


@pytest.fixture
def experiment(make_experiment, tmp_path):
    return make_experiment(
        tmp_path, {"evaluate.thresholds": list(THRESHOLDS), "evaluate.threshold": 0.45}
    )


def _tally(cams, truth):
    return tally(*levels(cams, [0, 1], THRESHOLDS), truth, len(THRESHOLDS), len(CLASSES))


def _perfect(truth):
    return np.stack([truth == 1, truth == 2]).astype(np.float32)


class TestFullSize:
    def test_maps_that_have_the_images_size_stay_as_they_are(self, make):
        cams = np.random.default_rng(0).random((2, 6, 8)).astype(np.float16)
        found = full_size(make.cam_row("a", [0, 1], cams))
        np.testing.assert_array_equal(found, cams.astype(np.float32))

    def test_strided_maps_grow_bilinearly_to_the_images_size(self, make):
        grown = full_size(make.cam_row("a", [0], np.array([[[0.0, 1.0]]]), (2, 4)))
        np.testing.assert_allclose(grown, np.tile([0, 0.25, 0.75, 1], (1, 2, 1)))

    def test_an_image_without_classes_has_no_maps(self, make):
        row = make.cam_row("a", [], np.zeros((0, 2, 2)), (6, 8))
        assert full_size(row).shape == (0, 6, 8)


def test_perfect_cams_score_1(truth, experiment):
    scores = report_scores([_tally(_perfect(truth), truth)], experiment, CLASSES, scored="cams")
    assert scores["miou"] == [1.0, 1.0, 1.0]
    for figures in (scores["best"], scores["fixed"]):
        assert figures["iou"] == figures["boundary_iou"] == [1.0, 1.0, 1.0, None]
        assert figures["mean_precision"] == figures["mean_recall"] == 1
        assert figures["false_foreground"] == 0
        assert figures["intervals"]["miou"] == [1, 1]
        assert figures["intervals"]["iou"] == [[1, 1], [1, 1], [1, 1], [None, None]]


def test_a_score_that_nothing_is_left_of_is_null(truth, experiment):
    scores = report_scores([_tally(0 * _perfect(truth), truth)], experiment, CLASSES, scored="cams")
    assert scores["best"]["mean_precision"] is None
    assert scores["best"]["false_foreground"] is None
    assert scores["best"]["intervals"]["false_foreground"] == [None, None]


class TestReport:
    @pytest.fixture
    def tallies(self, truth):
        """In the first image half of the dog is seen weakly: the lowest threshold is best."""
        weak = _perfect(truth)
        weak[1, 3] *= 0.3
        return [_tally(weak, truth), *(_tally(_perfect(truth), truth) for _ in range(9))]

    @pytest.fixture
    def scores(self, tallies, experiment):
        return report_scores(tallies, experiment, CLASSES, scored="cams")

    def test_the_best_threshold_is_that_of_the_highest_miou(self, scores):
        assert scores["miou"] == sorted(scores["miou"], reverse=True)
        assert scores["best"]["threshold"] == 0.2
        assert scores["best"]["miou"] == pytest.approx(1)

    def test_the_fixed_figures_are_at_the_nearest_threshold(self, scores):
        fixed = scores["fixed"]
        assert fixed["threshold"] == 0.5
        assert fixed["miou"] == pytest.approx(scores["miou"][1], abs=1e-6)
        assert fixed["iou"][2] == fixed["recall"][2] == 0.95
        assert fixed["precision"][2] == fixed["mean_precision"] == 1
        assert fixed["mean_recall"] == pytest.approx((1 + 0.95) / 2)
        assert fixed["mean_boundary_iou"] < fixed["miou"]

    def test_intervals_hold_the_figure_and_are_the_same_each_time(
        self, scores, tallies, experiment
    ):
        fixed = scores["fixed"]
        low, high = fixed["intervals"]["miou"]
        assert low < fixed["miou"] < high == 1
        low, high = fixed["intervals"]["iou"][2]
        assert low < 0.95 < high == 1
        assert report_scores(tallies, experiment, CLASSES, scored="cams") == scores

    def test_they_say_what_was_scored_how(self, scores):
        settings = scores["settings"]
        assert scores["num_images"] == 10
        assert (settings["split"], settings["names"]) == ("train", "all")
        assert settings["scales"] == [1.0]
        assert (settings["resolution"], settings["stride"]) == ("strided", 4)
        assert settings["scored"] == "cams"
        assert settings["crf"] is False
        assert scores["class_names"] == ["background", *CLASSES]

    def test_they_are_plain_json_without_nan(self, scores):
        assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_label_maps_have_one_set_of_figures_and_no_thresholds(truth, experiment):
    winner = np.where(truth == 1, 1, 0)
    counts = tally(winner, winner, truth, 1, len(CLASSES))
    scores = report_label_maps([counts], experiment, CLASSES, scored="elsewhere")
    assert (scores["thresholds"], scores["miou"]) == ([], [])
    assert scores["best"] == scores["fixed"]
    assert scores["fixed"]["iou"][1:] == [1, 0, None]
    assert "scales" not in scores["settings"]


@pytest.mark.parametrize("thresholds", [[], [0.3, 0.2], [0.2, 0.2]])
def test_thresholds_that_do_not_ascend_are_an_error(experiment, thresholds):
    with pytest.raises(ValueError, match="each greater than the one before it"):
        experiment.with_overrides({"evaluate.thresholds": thresholds})


@pytest.mark.parametrize(
    ("absent", "expected"), [("zero", (1 + 1 + 0 + 0) / 4), ("skip", (1 + 1 + 0) / 3)]
)
def test_a_class_without_truth_counts_as_the_configuration_says(
    truth, experiment, absent, expected
):
    """The dog is taken for a boat, which is nowhere."""
    own = experiment.with_overrides({"evaluate.absent_classes": absent})
    winner = np.where(truth == 2, 3, np.where(truth == 1, 1, 0))
    counts = tally(winner, (winner > 0).astype(int), truth, 1, len(CLASSES))
    scores = report_label_maps([counts], own, CLASSES, scored="elsewhere")
    assert scores["best"]["miou"] == pytest.approx(expected, abs=1e-6)
    assert scores["best"]["iou"] == [1, 1, 0, 0]
    assert scores["settings"]["absent classes"] == absent


def test_every_interval_holds_its_figure_even_where_an_image_alone_shows_a_class(experiment):
    """Replicates lack some of the twelve classes, of which none is found, and score higher."""
    nothing = np.zeros((2, 2), np.int64)
    truths = [np.array([[0, 0], [0, value]], np.uint8) for value in range(1, 13)]
    tallies = [tally(nothing, nothing, truth, 1, 12) for truth in truths]
    figures = report_label_maps(tallies, experiment, [*"abcdefghijkl"], scored="elsewhere")["best"]
    for name, bounds in figures["intervals"].items():
        pairs = (
            zip(figures["iou"], bounds, strict=True) if name == "iou" else [(figures[name], bounds)]
        )
        assert all(value is None or low <= value <= high for value, (low, high) in pairs)
    assert figures["miou"] == figures["intervals"]["miou"][0]


@pytest.mark.parametrize(
    ("best", "scored", "told"),
    [
        ((), "cams", "none"),
        (("ritc",), "baseline_cams", "none"),
        (("ritc",), "cams", "cam_net (train.ritc.keep: best)"),
        (
            ("classifier", "ritc"),
            "cams",
            "classifier (train.classifier.keep: best), cam_net (train.ritc.keep: best)",
        ),
    ],
)
def test_weights_that_ground_truth_chose_are_told(truth, experiment, best, scored, told):
    keys = {f"train.{one}.{key}": value for one in best for key, value in BEST.items()}
    own = experiment.with_overrides(keys)
    scores = report_scores([_tally(_perfect(truth), truth)], own, CLASSES, scored=scored)
    assert scores["settings"]["weights chosen by ground truth masks"] == told
