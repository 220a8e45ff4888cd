import pytest
import torch

from qaclims_ray.benchmark import measure as measured
from qaclims_ray.benchmark.measure import (
    OutOfMemory,
    Speeds,
    Timing,
    Way,
    attempt,
    count_flops,
    find_device,
    measure,
    measure_speeds,
)

CPU = torch.device("cpu")


def way(name="a", **options):
    return Way("ours", name, "float32", "1 image", 3, **options)


def test_ways_take_turns_after_a_run_each_that_does_not_count():
    seen = []
    ways = {way("a"): lambda: seen.append("a"), way("b"): lambda: seen.append("b")}
    timings = measure(ways, CPU, 2)
    assert seen == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timings] == [2, 2]


def test_flop_are_counted_or_given_and_stretched():
    one = torch.randn(4, 5)
    product = lambda: one @ one.T  # noqa: E731
    assert count_flops(product) == 2 * 4 * 5 * 4
    counted, stretched, given = measure(
        dict.fromkeys([way(), way(stretch=10), way(flops=7, stretch=2)], product), CPU, 1
    )
    assert (counted.flops, stretched.flops, given.flops) == (160, 1600, 14)


def test_rates_are_median_least_and_greatest():
    timing = Timing(way(), seconds=(3.0, 1.0, 2.0))
    assert timing.rates == (1.5, 1.0, 3.0)


def test_seconds_are_stretched(monkeypatch):
    monkeypatch.setattr(measured, "seconds", lambda function, device: 2.0)
    (timing,) = measure({way(stretch=5): lambda: None}, CPU, 2)
    assert timing.seconds == (10.0, 10.0)


def test_a_way_that_runs_out_of_memory_says_so_and_the_others_go_on():
    ways = {way("a"): lambda: torch.empty(10**15), way("b"): lambda: None}
    timings = measure(ways, CPU, 2)
    assert timings[0].error.startswith("out of memory: ")
    assert timings[0].seconds == ()
    assert len(timings[1].seconds) == 2


def test_a_way_may_run_out_of_memory_later():
    memory = iter([None, None])

    def run():
        if next(memory, "none") == "none":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

    (timing,) = measure({way(): run}, CPU, 3)
    assert timing.error == "out of memory: CUDA out of memory. Tried to allocate 2 GiB"
    assert timing.seconds == ()


def test_other_errors_are_no_lack_of_memory():
    with pytest.raises(RuntimeError, match="shape"):
        attempt(lambda: torch.ones(2).reshape(3))
    assert isinstance(attempt(lambda: torch.empty(10**15)), OutOfMemory)


def test_speeds_are_positive_and_leave_the_precision_as_it_was():
    before = torch.get_float32_matmul_precision()
    speeds = measure_speeds(CPU, ["float32"], 32)
    assert speeds.flops["float32"] > 0
    assert speeds.num_bytes > 0
    assert torch.get_float32_matmul_precision() == before


def test_of_several_measurements_of_the_speed_the_best_counts():
    one, other = Speeds({"float32": 3.0}, 1.0), Speeds({"float32": 2.0, "float16": 5.0}, 4.0)
    assert one.at_best(other) == Speeds({"float32": 3.0, "float16": 5.0}, 4.0)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda.*sees no GPU.*--device cpu"):
        find_device("cuda")
    assert find_device(None) == CPU
