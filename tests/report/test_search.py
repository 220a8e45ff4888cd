import json
import re

import pytest

from qaclims_ray.report.search import finalist_rows, search_summary
from qaclims_ray.report.trials import metric_of, parallel_coordinates, scatter, share
from qaclims_ray.search.results import DEFAULT
from qaclims_ray.search.rows import write_trials
from qaclims_ray.storage.files import read_json, write_json

KEY = "train.ritc.loss.foreground"
SPACE = {KEY: {"log_uniform": (1, 100)}, "cams.activation": {"choice": ("relu", "sigmoid")}}


@pytest.fixture
def experiment(make_experiment, tmp_path):
    space = {key: dict(domain) for key, domain in SPACE.items()}
    overrides = {"tune.space": space, "tune.metric": "miou"}
    return make_experiment(tmp_path, overrides)


def _row(number, score):
    row = {"trial": f"trial_{number}", "status": "complete", "epochs": 1}
    row |= {"threshold": 0.3, "seconds": 2.0, "error": None}
    overrides = {KEY: 10.0**number, "cams.activation": "relu"}
    return {**row, "score": score, "scores": [score], "curve": [score] * 5, "overrides": overrides}


ROWS = [_row(0, 0.2), _row(1, 0.3), _row(2, 0.5)]
FAILED = {**ROWS[0], "trial": "trial_3", "status": "failed", "score": None}
FAILED |= {"error": "Traceback\n<boom>", "scores": [], "curve": [], "epochs": 0}


def _finalist(name, held_out):
    found = {"name": name, "overrides": {}, "seeds": [0, 1], "threshold": 0.3, "diverged": []}
    return {**found, "choosing": held_out, "held_out": held_out}


def _write(experiment, rows, importance):
    folder = f"{experiment.run}/search"
    found = {
        "winner": "trial_2",
        "finalists": [_finalist(DEFAULT, [0.2, 0.3]), _finalist("trial_2", [0.5, 0.6])],
        "space": SPACE,
        "metrics": ["miou"],
        "thresholds": [0.1, 0.3, 0.5, 0.7, 0.9],
        "importance": importance,
    }
    write_trials(rows, experiment, folder)
    with open(f"{folder}/finalists.json", "w") as file:
        json.dump(found, file)


def test_a_run_without_a_search_shows_nothing(experiment):
    assert search_summary(experiment) == ""


def test_thresholds_are_shown_with_what_refined_the_cams(experiment):
    score = {"foreground": 0.4, "background": 0.1, "coverage": 0.8, "miou": 0.5}
    seeds = dict.fromkeys(("choosing", "held_out", "published"), score) | {"front": [score]}
    seeds |= {"min_coverage": 0.6}
    write_json(f"{experiment.run}/search/seeds.json", seeds)
    assert search_summary(experiment) == ""  # an earlier version did not refine
    seeds |= {"kind": "crf", "num_choosing": 30, "num_held_out": 20}
    write_json(f"{experiment.run}/search/seeds.json", seeds)
    html = search_summary(experiment)
    assert "On 20 held-out images; CAMs refined by the dense CRF" in html
    assert "at least 60% of the 30 choosing images" in html


def test_a_search_is_shown_with_all_its_drawings(experiment):
    _write(experiment, [*ROWS, FAILED], {KEY: 0.75, "cams.activation": 0.25})
    html = search_summary(experiment)
    assert "3 trained to the end, 0 stopped early, 1 failed" in html
    assert "importance 75%" in html
    assert "&lt;boom&gt;" in html
    for label in ("Values and score", f"mIoU over {KEY}", "mIoU of trials"):
        assert f'aria-label="{label}' in html
    assert "nan" not in html


def test_words_of_a_search_are_escaped(experiment):
    _write(experiment, [*ROWS, FAILED], None)
    folder, evil = f"{experiment.run}/search", "<script>alert(1)</script>"
    found = read_json(f"{folder}/finalists.json")
    found["finalists"][0] |= {"name": evil, "overrides": {evil: evil}}
    score = {"background": 0.2, "miou": 0.5}
    masks = dict.fromkeys(("choosing", "held_out", "published"), score) | {"kind": evil}
    masks |= {"thresholds": [0.1, 0.2], "curve": [0.4, 0.5], "num_choosing": 3, "num_held_out": 2}
    for file, content in (("finalists", found), ("masks", masks)):
        with open(f"{folder}/{file}.json", "w") as opened:
            json.dump(content, opened)
    html = search_summary(experiment)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 4


def test_without_shares_no_importance_is_claimed(experiment):
    _write(experiment, ROWS, None)
    assert "importance" not in search_summary(experiment)


def test_a_search_of_failures_alone_is_shown(experiment):
    _write(experiment, [FAILED], None)
    html = search_summary(experiment)
    assert "1 failed" in html
    assert "<svg" not in html


def test_finalists_show_mean_and_spread_and_the_winner(experiment):
    _write(experiment, ROWS, None)
    html = search_summary(experiment)
    assert "55.0 ± 7.1" in html
    assert html.index("trial_2, the winner") < html.index("Own values of the configuration")


def test_a_finalist_that_diverged_with_a_seed_says_so():
    poor = _finalist("trial_1", [0.5, 0.0]) | {"overrides": {KEY: 7.0}, "diverged": [1]}
    default, row = finalist_rows([_finalist(DEFAULT, [0.2, 0.3]), poor], DEFAULT)
    assert row.values == f"{KEY} 7, diverged with seed 1"
    assert default.values == ""


@pytest.mark.parametrize(
    ("value", "domain", "wanted"),
    [
        (10.0, {"log_uniform": (1, 100)}, 0.5),
        (25, {"int": (0, 100)}, 0.25),
        ("b", {"choice": ("a", "b", "c")}, 0.5),
    ],
)
def test_a_value_lies_where_its_domain_puts_it(value, domain, wanted):
    assert share(value, domain) == pytest.approx(wanted)


def test_a_line_is_a_trial_and_the_best_one_stands_out():
    html = parallel_coordinates(ROWS, SPACE, metric_of(ROWS, "miou"))
    assert len(re.findall("<polyline", html)) == 3
    assert len(re.findall('<polyline class="ours"', html)) == 1
    assert html.count("<path") == 3  # two keys and the score


def test_dots_stand_in_the_order_of_their_values():
    metric = metric_of(ROWS, "miou")
    html = scatter(ROWS, KEY, SPACE[KEY], metric)
    x, y = (
        [float(one) for one in re.findall(rf'<circle[^>]* {axis}="([\d.]+)"', html)]
        for axis in ("cx", "cy")
    )
    assert x == sorted(x)
    assert y == sorted(y, reverse=True)
