from qaclims_ray.report.scores import Step, score_summary


def figures(miou: float | None) -> dict:
    means = ("miou", "mean_boundary_iou", "mean_precision", "mean_recall", "false_foreground")
    return {
        **dict.fromkeys(means, miou),
        "threshold": 0,
        "iou": [miou, None],
        "intervals": {
            **{mean: [0.25, None] for mean in means},
            "iou": [[0.25, 0.75], [None, None]],
        },
    }


def scores_of_label_maps(miou: float | None) -> dict:
    return {
        "num_images": 3,
        "settings": {"data": "folder", "split": None, "crf": True, "unreadable": 2},
        "class_names": ["background", "<cat>"],
        "thresholds": [],
        "miou": [],
        "best": figures(miou),
        "fixed": figures(miou),
    }


def test_label_maps_alone_have_one_table_and_no_threshold():
    html = score_summary([Step("third", "Masks", scores_of_label_maps(0.5))])
    assert html.count("<tbody>") == 1
    assert "threshold" not in html.replace("at the same threshold", "")
    assert "<svg" not in html
    assert "25.0% to n/a" in html
    assert "&lt;cat&gt;" in html
    assert "3 images with ground truth of folder, 2 could not be read; CRF on; mIoU over 2" in html


def test_a_difference_to_nothing_is_not_known():
    scores = [scores_of_label_maps(0.5), scores_of_label_maps(None)]
    html = score_summary([Step("baseline", "A", scores[0]), Step("ours", "B", scores[1])])
    assert "<td>n/a</td>" in html
    html = score_summary([Step("baseline", "A", scores[0]), Step("ours", "B", scores[0])])
    assert "<td>+0.0 <small>points</small></td>" in html
