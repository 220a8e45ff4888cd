import pytest

from qaclims_ray.evaluate.text import statement, text_table


def _figures(threshold, miou):
    shares = ["mean_boundary_iou", "mean_precision", "mean_recall"]
    return {
        "threshold": threshold,
        "miou": miou,
        **dict.fromkeys(shares, 0.5),
        "false_foreground": None,
        "iou": [miou, 0.25, None],
        "intervals": {
            "miou": [miou - 0.02, miou + 0.01],
            **{share: [0.4, 0.6] for share in shares},
            "false_foreground": [None, None],
        },
    }


@pytest.fixture
def scores():
    return {
        "num_images": 3,
        "settings": {"split": "train", "stride": 4, "scored": "cams", "refinement": "none"},
        "class_names": ["background", "potted plant", "dog"],
        "thresholds": [0.1, 0.3],
        "best": _figures(0.3, 0.625),
        "fixed": _figures(0.1, 0.5),
    }


def test_it_shows_figures_with_intervals_at_both_thresholds(scores):
    lines = text_table({"ours": scores}).splitlines()
    assert lines[1].startswith("ours, best @ 0.30 ")
    assert "62.5  [60.5, 63.5]" in lines[1]
    assert lines[1].endswith("n/a    [n/a, n/a]")
    assert lines[2].startswith("ours, fixed @ 0.10 ")
    assert "50.0  [48.0, 51.0]" in lines[2]
    assert len({len(line) for line in lines[:3]}) == 1


def test_it_names_classes_and_conditions(scores):
    text = text_table({"ours": scores})
    assert "background 62.5, potted plant 25.0, dog n/a" in text
    assert text.endswith("3 images, split train, stride 4, refinement none")


def test_a_class_and_its_figure_stay_on_one_line(scores):
    scores["class_names"] *= 10
    scores["best"]["iou"] *= 10
    lines = text_table({"ours": scores}).splitlines()
    assert all(len(line) <= 100 for line in lines[3:])
    assert sum(line.count("potted plant 25.0") for line in lines) == 10


def test_conditions_that_two_scores_share_are_said_once(scores):
    text = text_table({"baseline": scores, "ours": scores})
    assert text.count("3 images") == 1
    assert "baseline, best @ 0.30" in text


def test_label_maps_have_one_row(scores):
    lines = text_table({"theirs": {**scores, "thresholds": []}}).splitlines()
    assert lines[1].startswith("theirs, label maps ")
    assert lines[2] == ""


def test_a_statement_says_of_what_a_score_is_and_what_was_used(scores):
    scores["settings"] |= {"image labels": "used", "weights chosen by ground truth masks": "none"}
    assert statement(scores) == "mIoU 62.5% of cams at threshold 0.3, image labels used"
    chosen = "cam_net (train.ritc.keep: best)"
    scores["settings"]["weights chosen by ground truth masks"] = chosen
    assert statement(scores).endswith(f"used, weights chosen by ground truth masks {chosen}")


@pytest.mark.parametrize(
    ("unsure", "decided", "told"),
    [
        ("background", 0.9999, "99.9% of pixels decided, the others as background"),
        ("ignore", 0.5, "50.0% of pixels decided, the others left out"),
        ("ignore", 1, "100.0% of pixels decided"),
    ],
)
def test_a_statement_of_label_maps_says_what_undecided_pixels_count(scores, unsure, decided, told):
    settings = {"scored": "predictions", "unsure": unsure, "decided": decided}
    settings |= {"pixel-supervised weights": "allowed", "absent classes": "skip"}
    own = {**scores, "thresholds": [], "settings": settings}
    assert statement(own) == (
        f"mIoU 62.5% of predictions, pixel-supervised weights allowed, {told}, "
        "classes without truth skipped"
    )
