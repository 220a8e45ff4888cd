import numpy as np
import pytest

from qaclims_ray.evaluate.rows import tally
from qaclims_ray.report.mistakes import (
    confusion_summary,
    mistakes,
    shares,
    worst,
    worst_images,
)
from qaclims_ray.report.scores import steps_of
from qaclims_ray.run.graph import ARTIFACTS

MATRIX = np.array([[90, 0, 10], [20, 60, 0], [1, 30, 69]])
NAMES = ["background", "cat", "dog"]


def counts(predicted: list[int], truth: list[int]):
    """Counts of a label map of one row."""
    winner = np.array([predicted])
    return tally(winner, (winner > 0).astype(int), np.array([truth], np.uint8), 1, 3)


def test_shares_are_of_the_true_class():
    assert shares(MATRIX)[1].tolist() == [0.25, 0.75, 0]
    assert shares(np.zeros((2, 2), int)).tolist() == [[0, 0], [0, 0]]


def test_mistakes_are_told_by_kind_the_largest_first():
    assert mistakes(MATRIX, NAMES) == {
        "Missed": ["25.0% of cat", "1.0% of dog"],
        "Taken for another class": ["30.0% of dog as cat"],
        "Invented": ["10.0% of background as dog"],
    }
    assert mistakes(np.diag([5, 5]), NAMES[:2]) == {}


def test_the_worst_images_have_the_lowest_iou_of_their_own():
    images = {
        "d": counts([1, 1, 0, 0], [1, 1, 0, 0]),
        "c": counts([0, 0, 0, 0], [1, 1, 0, 0]),
        "b": counts([2, 2, 0, 0], [1, 1, 0, 0]),
        "a": counts([0, 0, 0, 0], [1, 1, 0, 0]),
        "nothing": counts([1, 1, 1, 1], [255, 255, 255, 255]),
    }
    found = worst(images.items(), 0, "zero")
    assert found == [(0.25, "a"), (0.25, "c"), (pytest.approx(1 / 3), "b"), (1, "d")]
    assert worst(reversed(images.items()), 0, "zero", 2) == found[:2]
    assert worst(images.items(), 0, "skip", 3)[2] == (0.5, "b")


def test_a_real_run_shows_its_last_step(demo_run):
    steps = steps_of(demo_run, ARTIFACTS)
    html = worst_images(demo_run, steps)
    assert html.count('<div class="panel">') == 4
    title = ARTIFACTS["new_predictions"].title
    assert html.count(f"<figcaption>{title}</figcaption>") == 4
    html = confusion_summary(demo_run, steps)
    assert html.count("<svg") == 2
    assert "QA-CLIMS CAM, threshold" in html
    assert f"<h3>{title}</h3>" in html
    assert worst_images(demo_run, []) == confusion_summary(demo_run, []) == ""
