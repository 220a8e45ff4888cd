"""What was measured, as text for people and as plain data for files."""

from collections.abc import Iterator, Sequence
from typing import Any

from qaclims_ray.benchmark.hours import COCO, DATA_SETS, INSTEAD, VOC, DataSet, hours
from qaclims_ray.benchmark.measure import Kind, Speeds, Timing
from qaclims_ray.benchmark.report import Report

_UNIT = {"VQA": "answers", "random walk": "masks", "seeds": "seeds"}
_HEAD = (
    f"{'':2}{'way':<24}{'at once':<25}{'precision':<9}{'per second':>20}{'ratio':>7}{'GFLOP':>8}"
    f"{'reached':>12}{'GB':>6}"
)
_LEGEND = """\
per second: median [least, greatest]. ratio: to the published way. GFLOP: of one answer, image or
mask; - where nobody counted. reached: share of the speed that a large matrix product (matmul) or a
plain read (memory) has here; well below 50 %, small kernels, their launches and other work on the
machine are the bound. GB: peak memory of the GPU; without one, of the process so far. Answers are
as long as may be, 9 tokens."""
_HOURS = """\
Of the computing alone, decoding left out. VOC's images are taken as 375 x 500, COCO's as 480 x 640
with 2.9 pairs each, as no number is published; VQA is a little faster then than assumed here. CLIP
CAMs (cams.kind: clip) stand in for both trainings and CAMs, and are in no sum."""
_QUICK = "--quick: tiny networks, which show that all runs; rates and hours mean nothing."


def text_table(report: Report) -> str:
    """All figures, hours and what they mean; the last line says it all."""
    body = [line for part in report.timings for line in _part(report, part)]
    warning = [_QUICK] if report.quick else []
    measured = [*_about(report), "", _HEAD, *body, "", _LEGEND]
    return "\n".join([*measured, "", *_hours(report), "", _HOURS, *warning, _closing(report)])


def as_data(report: Report) -> dict[str, Any]:
    """The report as JSON has it: seconds of each repetition, hours by data set."""
    return {
        **report._asdict(),
        "speeds": report.speeds._asdict(),
        "timings": {
            part: timings if isinstance(timings, str) else [_row(report, part, t) for t in timings]
            for part, timings in report.timings.items()
        },
        "hours": {
            data.name: {way: _total(report, way, data) for way in ("published", "ours")}
            for data in DATA_SETS
        },
    }


def reached(timing: Timing, speeds: Speeds) -> tuple[float, str]:
    """Which share of its bound's speed a way reaches, and the bound: matmul or memory."""
    fastest = speeds.flops.get(timing.way.precision, speeds.flops["float32"])
    floors = {
        "matmul": timing.flops / fastest,
        "memory": timing.way.num_bytes / speeds.num_bytes,
    }
    bound = max(floors, key=lambda name: floors[name])
    return floors[bound] * timing.rates[0] / timing.way.num_units, bound


def _about(report: Report) -> Iterator[str]:
    yield f"{report.machine}; {report.rounds} repetitions of each way, turn and turn about"
    done = [t for ts in report.timings.values() if not isinstance(ts, str) for t in ts]
    wall = report.num_threads * sum(sum(timing.seconds) for timing in done)
    # How far other work kept the CPU from this one; nothing where a GPU computes.
    share = f"{sum(t.cpu_seconds for t in done) / wall:.0%}" if wall else ""
    got = f"; this process got {share} of its threads' time" if share else ""
    yield f"load average {report.load:.1f} on {report.num_cpus} CPUs when it began{got}"
    flops = (f"{name} {speed / 1e9:,.0f}" for name, speed in report.speeds.flops.items())
    yield (
        f"matrix product: {', '.join(flops)} GFLOP/s; "
        f"memory: {report.speeds.num_bytes / 1e9:,.0f} GB/s"
    )


def _part(report: Report, part: str) -> Iterator[str]:
    yield f"{part}, {_UNIT.get(part, 'images')}"
    timings = report.timings[part]
    if isinstance(timings, str):
        yield f"  {timings}"
        return
    for timing in timings:
        way = timing.way
        start = f"  {way.name:<24}{way.batch:<25}{way.precision:<9}"
        yield start + (timing.error or _figures(report, part, timing))


def _figures(report: Report, part: str, timing: Timing) -> str:
    median, least, most = (f"{rate:.3g}" for rate in timing.rates)
    share, bound = reached(timing, report.speeds)
    factor = _ratio(report, part, timing)
    each = timing.flops / timing.way.num_units / 1e9
    gflop = "-" if each == 0 else f"{each:,.0f}" if each >= 100 else f"{each:.1f}"
    peak = "-" if timing.way.stretch != 1 else f"{timing.peak_bytes / 1e9:.1f}"
    used = "-" if each == 0 else f"{share:.0%} {bound}"
    return (
        f"{f'{median} [{least}, {most}]':>20}{'-' if factor is None else f'{factor:.3g}':>7}"
        f"{gflop:>8}{used:>12}{peak:>6}"
    )


def _hours(report: Report) -> Iterator[str]:
    heads = "".join(f"{data.name:>18}" for data in DATA_SETS)
    yield f"{f'hours on {report.gpus} of these':<56}{heads}"
    for part, timings in report.timings.items():
        for timing in timings if not isinstance(timings, str) else []:
            if timing.error is None:
                label = f"{part}, {timing.way.name}, {timing.way.precision}"
                times = [hours(part, timing, data, report.gpus) for data in DATA_SETS]
                yield _hours_line(label, times)
    sums: dict[Kind, str] = {"published": "all parts, as published", "ours": "all parts, ours"}
    for kind, label in sums.items():
        yield _hours_line(label, [_total(report, kind, data) for data in DATA_SETS])


def _hours_line(label: str, times: Sequence[float | None]) -> str:
    return f"{label:<56}" + "".join(f"{_readable(time):>18}" for time in times)


def _ratio(report: Report, part: str, timing: Timing) -> float | None:
    slow = _of_kind(report, part, "published")
    return None if slow is None else timing.rates[0] / slow.rates[0]


def _of_kind(report: Report, part: str, kind: Kind) -> Timing | None:
    """The part's way of that kind, or the one that is the same in both; None: not measured."""
    timings = report.timings[part]
    if isinstance(timings, str):
        return None
    whole = [t for t in timings if t.error is None and t.way.kind in (kind, "both")]
    return whole[0] if whole else None


def _total(report: Report, kind: Kind, data: DataSet) -> float | None:
    """Hours of all parts of QA-CLIMS; None where one was not measured."""
    parts = [part for part in report.timings if part not in INSTEAD]
    found = {part: _of_kind(report, part, kind) for part in parts}
    times = [hours(part, t, data, report.gpus) for part, t in found.items() if t is not None]
    return sum(times) if len(times) == len(found) else None


def _row(report: Report, part: str, timing: Timing) -> dict[str, Any]:
    row = {
        **timing.way._asdict(),
        "unit": _UNIT.get(part, "images"),
        **timing._asdict(),
        "way": timing.way.name,
    }
    if timing.error is not None:
        return row
    share, bound = reached(timing, report.speeds)
    return {
        **row,
        "per_second": timing.rates[0],
        "ratio": _ratio(report, part, timing),
        "reached": share,
        "bound": bound,
        "hours": {data.name: hours(part, timing, data, report.gpus) for data in DATA_SETS},
    }


def _closing(report: Report) -> str:
    times = ", ".join(
        f"{name} {_readable(_total(report, 'ours', data))} h"
        for name, data in (("VOC", VOC), ("COCO", COCO))
    )
    return f"benchmark: {times} on {report.gpus} x {report.machine}"


def _readable(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
