"""How fast ways of doing the same work are on a device, side by side, and what bounds them."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

Kind = Literal["published", "ours", "option", "both"]
"""Whose way: `option` is one that a config can choose, `both` one that is the same in both."""

_T = TypeVar("_T")


class Way(NamedTuple):
    """One way of doing a part's work."""

    kind: Kind
    name: str
    """What sets it apart, such as `one question a call`."""
    precision: str
    """Type of the arithmetic, such as `float32`."""
    batch: str
    """What a run does at once, in words."""
    num_units: int
    """Units of the part that one run does."""
    flops: float | None = None
    """Multiplications and additions of a run; None: torch counts them in the first run."""
    num_bytes: float = 0.0
    """Bytes that a run cannot but read, where that takes longer than its arithmetic."""
    stretch: float = 1.0
    """Factor on time and FLOP, where a smaller run stands for the whole."""
    growth: int = 0
    """Power of the number of an image's pixels that the time grows by."""


Ways = Mapping[Way, Callable[[], object]]
"""Ways of a part, and what runs each once."""


class Timing(NamedTuple):
    """What was measured of one way."""

    way: Way
    seconds: tuple[float, ...] = ()
    """Seconds of each repetition, stretched; none where memory ran out."""
    cpu_seconds: float = 0.0
    """CPU time of this process, all repetitions and threads together."""
    flops: float = 0.0
    """Multiplications and additions of a repetition, stretched."""
    peak_bytes: int = 0
    """GPU memory at most; without a GPU the process's memory at most so far."""
    error: str | None = None

    @property
    def rates(self) -> tuple[float, float, float]:
        """Units a second: median, least and greatest."""
        number, seconds = self.way.num_units, self.seconds
        return number / statistics.median(seconds), number / max(seconds), number / min(seconds)


class Speeds(NamedTuple):
    """What a device can do at most."""

    flops: dict[str, float]
    """Multiplications and additions a second of a large matrix product, by precision."""
    num_bytes: float
    """Bytes a second that a plain sum reads."""

    def at_best(self, other: "Speeds") -> "Speeds":
        """The greater of either: on a busy machine one measurement may be far below the truth."""
        flops = {name: max(speed, self.flops.get(name, 0)) for name, speed in other.flops.items()}
        return Speeds(flops, max(self.num_bytes, other.num_bytes))


class OutOfMemory(NamedTuple):
    """Why there is no result."""

    reason: str


def find_device(name: str | None) -> torch.device:
    """The device of that name (`cpu` or `cuda`); None: the GPU if there is one.

    Raises:
        ValueError: cuda is wanted, and there is none.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ValueError(
            f"--device cuda: PyTorch {torch.__version__} sees no GPU on this machine; look at what "
            "nvidia-smi says, install a CUDA build of PyTorch, or measure with --device cpu"
        )
    return torch.device(name or ("cuda" if present else "cpu"))


def measure(ways: Ways, device: torch.device, rounds: int) -> list[Timing]:
    """Time each way `rounds` times, turn and turn about, after a run that does not count."""
    timings = [_first_run(way, run, device) for way, run in ways.items()]
    for _ in range(rounds):
        timings = [_once_more(timing, ways[timing.way], device) for timing in timings]
    return timings


def _first_run(way: Way, run: Callable[[], object], device: torch.device) -> Timing:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    counted = attempt(lambda: count_flops(run))
    if isinstance(counted, OutOfMemory):
        return Timing(way, error=counted.reason)
    flops = counted if way.flops is None else way.flops
    return Timing(way, flops=flops * way.stretch, peak_bytes=peak_memory(device))


def _once_more(timing: Timing, run: Callable[[], object], device: torch.device) -> Timing:
    if timing.error is not None:
        return timing
    start = time.process_time()
    taken = attempt(lambda: seconds(run, device))
    if isinstance(taken, OutOfMemory):
        return Timing(timing.way, error=taken.reason)
    spent = timing.way.stretch * (time.process_time() - start)
    stretched = (*timing.seconds, taken * timing.way.stretch)
    return timing._replace(seconds=stretched, cpu_seconds=timing.cpu_seconds + spent)


def attempt(function: Callable[[], _T]) -> _T | OutOfMemory:
    """What the function returns, or that memory ran out."""
    try:
        return function()
    except (RuntimeError, MemoryError) as error:
        # PyTorch has a class of error for the GPU's memory alone.
        is_of_cpu = "allocate memory" in str(error)
        if not (is_of_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)):
            raise
        return OutOfMemory(f"out of memory: {str(error).strip().partition(chr(10))[0]}")


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of a call, until a GPU has done it."""
    _wait(device)
    start = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_flops(function: Callable[[], object]) -> float:
    """Multiplications and additions of a call, by torch's counter."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def peak_memory(device: torch.device) -> int:
    """Bytes of GPU memory at most since the last reset, or of the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_speeds(device: torch.device, precisions: Sequence[str], size: int) -> Speeds:
    """The device's speeds, the fastest of 5: what nothing on it goes beyond.

    Args:
        device: to measure.
        precisions: to measure; float32 with TF32 where there is any, as convolutions use it.
        size: side of the matrices.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    flops: dict[str, float] = {}
    for name in precisions:
        one, other = torch.randn(2, size, size, device=device).to(getattr(torch, name))
        flops[name] = 2 * size**3 / _fastest(partial(torch.matmul, one, other), device)
    torch.set_float32_matmul_precision(before)
    # On CPUs as much as a walk's matrix, which caches hold; on GPUs enough to hide the launch.
    values = torch.ones(2**28 if device.type == "cuda" else 2**21, device=device)
    return Speeds(flops, 4 * values.numel() / _fastest(values.sum, device))


def _fastest(function: Callable[[], Any], device: torch.device) -> float:
    return min(seconds(function, device) for _ in range(6))
