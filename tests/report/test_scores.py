import pytest

from qaclims_ray.report.scores import Step, gain, score_summary, used

MEANS = ("miou", "mean_boundary_iou", "mean_precision", "mean_recall", "false_foreground")


def figures(miou: float | None, threshold: float) -> dict:
    return {
        **dict.fromkeys(MEANS, miou),
        "threshold": threshold,
        "iou": [miou, None],
        "intervals": {
            **{mean: [0.25, None] for mean in MEANS},
            "iou": [[0.25, 0.75], [None, None]],
        },
    }


def step(name: str, miou: float | None, settings: dict | None = None, threshold: float = 0) -> Step:
    """The scores of an artifact; those of CAMs have thresholds."""
    stated = {"data": "folder", "split": None, "crf": True, "unreadable": 2}
    scores = {
        "num_images": 3,
        "settings": {**stated, **(settings or {})},
        "class_names": ["background", "<cat>"],
        "thresholds": [threshold, 0.9] if threshold else [],
        "miou": [0.5, 0.1] if threshold else [],
        "best": figures(miou, threshold),
        "fixed": figures(miou, 0.9 if threshold else 0),
    }
    return Step(name, "third", f"Title of {name}", scores)


def test_the_classifiers_average_precision_stands_beside_the_classes():
    ranking = {"num_images": 500, "of_class": {"<cat>": 0.875, "dog": None}}
    html = score_summary([step("mask_scores", 0.5)], ranking)
    assert "&lt;cat&gt; <small>AP 87.5</small>" in html
    assert html.count("<small>AP") == 1
    assert "average precision of the classifier on 500 images of its training" in html
    assert "AP" not in score_summary([step("mask_scores", 0.5)])


def test_label_maps_alone_have_no_threshold():
    html = score_summary([step("mask_scores", 0.5)])
    assert "threshold" not in html.partition("</table>")[0]
    assert "<svg" not in html
    assert "25.0 to n/a" in html
    assert "&lt;cat&gt;" in html
    assert "3 images with ground truth of folder, 2 could not be read; CRF on; mIoU over 2" in html


def test_each_step_is_a_row_with_its_figures():
    seeds = {"image labels": "used", "unsure": "ignore", "decided": 0.8125}
    steps = [
        step("scores", 0.5, {"image labels": "used"}, threshold=0.3),
        step("seed_scores", 0.625, seeds),
        step("prediction_scores", 0.75, {"image labels": "not used"}),
    ]
    rows = score_summary(steps).partition("</table>")[0].split("<tr class")[1:]
    assert [row.count("<td") for row in rows] == [9, 9, 9]
    assert "0.3<small>the best one" in rows[0]
    assert "fixed 0.9: 50.0%" in rows[0]
    assert "81.2%<small>others left out" in rows[1]
    assert "points" not in rows[1]  # of other pixels than the CAMs above
    assert "image labels: not used" in rows[2]


def test_no_scores_are_no_table():
    assert score_summary([]) == ""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.25),
        ({"unsure": "background", "decided": 0.5}, 0.25),
        ({"unsure": "ignore", "decided": 1.0}, 0.25),
        ({"unsure": "ignore", "decided": 0.5}, None),
        ({"names": "other.txt"}, None),
        ({"split": "val"}, None),
    ],
)
def test_a_gain_is_that_on_the_same_pixels(settings, expected):
    assert gain(step("scores", 0.5), step("seed_scores", 0.75, settings)) == expected


def test_a_gain_to_nothing_is_not_known():
    assert gain(step("scores", 0.5), step("mask_scores", None)) is None


def test_a_row_says_what_was_used():
    chosen = "weights chosen by ground truth masks"
    settings = {"image labels": "not used", "pixel-supervised weights": "yes (COCO)"}
    weak = step("prediction_scores", 0.5, {**settings, chosen: "none"})
    told = ["image labels: not used", "pixel-supervised weights: yes (COCO)"]
    assert used(weak) == [*told, "images of the training"]
    best = step("scores", 0.5, {chosen: "cam_net (train.ritc.keep: best)", "names": "held.txt"})
    assert used(best) == [f"{chosen}: cam_net (train.ritc.keep: best)", "images of held.txt"]
