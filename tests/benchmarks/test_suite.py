import gc
import importlib.util
import json
import sys
import weakref
from pathlib import Path

import pytest
import torch

from qaclims_ray.benchmark.measure import Way
from qaclims_ray.benchmark.suite import PARTS, benchmark, run
from qaclims_ray.benchmark.table import text_table

JOB = Path(__file__).parents[2] / "jobs" / "benchmark.py"


def test_the_job_measures_all_parts(monkeypatch, capsys, tmp_path):
    spec = importlib.util.spec_from_file_location("job_benchmark", JOB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--device", "cpu", "--gpus", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(JOB), *arguments])
    module.main()
    shown = capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert set(figures["timings"]) == set(PARTS)
    for timings in figures["timings"].values():
        assert all(row["error"] is None and row["per_second"] > 0 for row in timings)
        assert all(len(row["seconds"]) == 2 for row in timings)
        assert all(row["flops"] > 0 or row["way"] == "dense CRF" for row in timings)
    assert figures["hours"]["COCO 2014 train"]["ours"] > 0
    assert shown.splitlines()[-1].startswith("benchmark: VOC ")
    assert "hours on 2 of these" in shown


def test_a_part_whose_networks_find_no_memory_leaves_the_others():
    def too_large(device, sizes):
        return torch.empty(10**15)

    report = run("cpu", quick=True, parts={"VQA": too_large, "random walk": PARTS["random walk"]})
    assert report.timings["VQA"].startswith("out of memory: ")
    assert len(report.timings["random walk"]) == 2
    assert "out of memory" in text_table(report)


def test_networks_are_freed_after_their_part():
    alive = []

    def part(device, sizes):
        net = torch.nn.Linear(2, 2)
        alive.append(weakref.ref(net))
        return {Way("ours", "a", "float32", "1 image", 1): lambda: net(torch.ones(1, 2))}

    run("cpu", quick=True, parts={"VQA": part})
    gc.collect()
    assert alive[0]() is None


def test_a_folder_that_is_not_there_costs_no_measurement(tmp_path):
    with pytest.raises(ValueError, match=r"--out .*there is no folder"):
        benchmark("cpu", quick=True, out=str(tmp_path / "none" / "a.json"))


def test_no_device_at_all():
    with pytest.raises(ValueError, match="--gpus 0: at least 1"):
        run("cpu", quick=True, gpus=0)


@pytest.mark.gpu
def test_on_a_gpu():
    report = run("cuda", quick=True)
    assert set(report.speeds.flops) == {"float32", "float16", "bfloat16"}
    assert [timing.way.precision for timing in report.timings["VQA"]] == [
        "float16", "float32", "float32",
    ]  # fmt: skip
    for timings in report.timings.values():
        for timing in timings:
            assert timing.error is None
            assert timing.way.stretch == 1
            assert timing.peak_bytes > 0
