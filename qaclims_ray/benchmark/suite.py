"""All parts, one after the other."""

import json
import os
import platform
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from qaclims_ray.benchmark import cams, clip_cams, seeds, segment, training, vqa, walk
from qaclims_ray.benchmark.measure import (
    OutOfMemory,
    Speeds,
    Timing,
    Ways,
    attempt,
    find_device,
    measure,
    measure_speeds,
)
from qaclims_ray.benchmark.report import Report
from qaclims_ray.benchmark.sizes import Sizes, choose_sizes
from qaclims_ray.benchmark.table import as_data, text_table
from qaclims_ray.run.progress import each

Build = Callable[[torch.device, Sizes], Ways]

PARTS: Mapping[str, Build] = {
    "VQA": vqa.ways,
    "RITC training": training.ritc_ways,
    "classifier training": training.classifier_ways,
    "CAMs": cams.ways,
    "seeds": seeds.seed_ways,
    "boundary training": seeds.training_ways,
    "boundaries": seeds.boundary_ways,
    "random walk": walk.ways,
    "segmenter training": segment.training_ways,
    "prediction": segment.prediction_ways,
    "CLIP CAMs": clip_cams.ways,
}
"""What is measured, by the names of `hours.UNITS`."""


def benchmark(
    device: str | None = None, *, quick: bool = False, gpus: int = 1, out: str | None = None
) -> str:
    """Measure all parts; the figures as text, and all of them as JSON in the file `out`.

    For the arguments see `run`.

    Raises:
        ValueError: no such device or folder; gpus below 1.
    """
    if out is not None and not Path(out).parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {Path(out).parent}; make it first")
    report = run(device, quick=quick, gpus=gpus)
    if out is not None:
        Path(out).write_text(json.dumps(as_data(report), indent=2))
    return text_table(report) + (f" · {out}" if out is not None else "")


def run(
    device: str | None = None,
    *,
    quick: bool = False,
    gpus: int = 1,
    parts: Mapping[str, Build] = PARTS,
) -> Report:
    """Measure all parts, one that runs out of memory excepted.

    Args:
        device: `cpu` or `cuda`; None: the GPU if there is one.
        quick: tiny networks, to see that all runs.
        gpus: devices that the hours are for.
        parts: to measure.

    Raises:
        ValueError: no such device; gpus below 1.
    """
    if gpus < 1:
        raise ValueError(f"--gpus {gpus}: at least 1, the number of devices the hours are for")
    found = find_device(device)
    sizes = choose_sizes(found, quick=quick)
    load = os.getloadavg()[0]
    precisions = ["float32"] if found.type == "cpu" else ["float32", "float16", "bfloat16"]
    speeds = Speeds({}, 0.0)
    timings: dict[str, list[Timing] | str] = {}
    with _flushed_denormals():
        for name, build in each(parts.items(), "benchmark", unit="part"):
            speeds = speeds.at_best(measure_speeds(found, precisions, sizes.matrix))
            timings[name] = _timings(build, found, sizes)
    return Report(
        machine=_machine(found),
        load=load,
        num_cpus=os.cpu_count() or 1,
        num_threads=torch.get_num_threads() if found.type == "cpu" else 0,
        rounds=sizes.rounds,
        quick=quick,
        gpus=gpus,
        speeds=speeds,
        timings=timings,
    )


def _timings(build: Build, device: torch.device, sizes: Sizes) -> list[Timing] | str:
    ways = attempt(lambda: build(device, sizes))
    return ways.reason if isinstance(ways, OutOfMemory) else measure(ways, device, sizes.rounds)


def _machine(device: torch.device) -> str:
    name = platform.machine() if device.type == "cpu" else torch.cuda.get_device_name(device)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{device.type} ({name}{threads}), PyTorch {torch.__version__}"


@contextmanager
def _flushed_denormals() -> Generator[None]:
    """Far cells are joined by numbers that CPUs, unlike GPUs, are slow to multiply."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
