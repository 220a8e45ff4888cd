import json

import pytest

from qaclims_ray.benchmark.hours import VOC, hours
from qaclims_ray.benchmark.measure import Speeds, Timing, Way
from qaclims_ray.benchmark.report import Report
from qaclims_ray.benchmark.table import as_data, reached, text_table


def timing(kind, seconds, name="a", **options):
    way = Way(kind, name, "float32", "4 images", 4, **options)
    return Timing(way, seconds=seconds, flops=8e9, peak_bytes=3 * 10**9, cpu_seconds=sum(seconds))


def report(**changes):
    """Ours answers 2 a second, and as published 0.5."""
    fast, slow = timing("ours", (1.0, 2.0, 4.0)), timing("published", (8.0,), name="b")
    made = Report(
        machine="cpu (x)",
        load=0.5,
        num_cpus=4,
        num_threads=2,
        rounds=3,
        quick=False,
        gpus=2,
        speeds=Speeds({"float32": 16e9}, 1e9),
        timings={"VQA": [fast, slow], "classifier training": [timing("both", (2.0,))]},
    )
    return made._replace(**changes)


def row(text, start):
    return " ".join(next(line for line in text.splitlines() if line.startswith(start)).split())


def test_a_row_holds_rate_range_ratio_flop_bound_and_memory():
    text = text_table(report())
    assert row(text, "  a   ").startswith("a 4 images float32 2 [1, 4] 4 2.0 25% matmul 3.0")
    assert row(text, "  b   ") == "b 4 images float32 0.5 [0.5, 0.5] 1 2.0 6% matmul 3.0"
    assert "got 50% of its threads' time" in text


def test_sums_of_hours_count_what_both_have_in_common():
    data = as_data(report())["hours"]["VOC train_aug"]
    common = 5 * 10_582 / 2 / 3600 / 2
    assert data["ours"] == pytest.approx(263_328 / 2 / 3600 / 2 + common)
    assert data["published"] == pytest.approx(263_328 / 0.5 / 3600 / 2 + common)
    text = text_table(report())
    assert row(text, "all parts, ours").split()[3] == "22"
    assert row(text, "all parts, as published").split()[4] == "77"
    assert text.splitlines()[-1] == "benchmark: VOC 22 h, COCO 293 h on 2 x cpu (x)"


def test_the_bound_is_what_takes_longest():
    speeds = Speeds({"float32": 16e9}, 1e9)
    assert reached(timing("ours", (2.0,)), speeds) == (0.25, "matmul")
    assert reached(timing("ours", (2.0,), num_bytes=1e9), speeds) == (0.5, "memory")


def test_what_was_not_measured_is_said_and_leaves_no_sum():
    lost = timing("published", ())._replace(error="out of memory: 3 GB")
    text = text_table(report(timings={"VQA": [timing("ours", (1.0,)), lost], "CAMs": "out of m."}))
    assert "4 images                 float32  out of memory: 3 GB" in text
    assert "CAMs, images\n  out of m." in text
    assert row(text, "all parts, as published").endswith("n/a n/a")
    assert "VOC n/a h" in text.splitlines()[-1]


def test_a_stretched_way_has_no_memory_to_show():
    stretched = timing("ours", (1.0,), stretch=3.0)
    assert row(text_table(report(timings={"VQA": [stretched]})), "  a  ").endswith("matmul -")


def test_json_holds_each_repetition():
    data = json.loads(json.dumps(as_data(report())))
    fast, slow = data["timings"]["VQA"]
    assert fast["seconds"] == [1.0, 2.0, 4.0]
    assert (fast["per_second"], fast["ratio"], slow["ratio"]) == (2.0, 4.0, 1.0)
    assert fast["hours"]["VOC train_aug"] == hours("VQA", report().timings["VQA"][0], VOC, 2)
    assert fast["unit"] == "answers"


def test_quick_figures_are_no_figures():
    assert "mean nothing" in text_table(report(quick=True))
    assert "mean nothing" not in text_table(report())
