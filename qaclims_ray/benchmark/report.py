"""What a benchmark found."""

from typing import NamedTuple

from qaclims_ray.benchmark.measure import Speeds, Timing


class Report(NamedTuple):
    """What was measured, and on what."""

    machine: str
    load: float
    """Processes that wanted to run when it began, in the mean of the last minute."""
    num_cpus: int
    num_threads: int
    """Threads that compute; 0: a GPU does."""
    rounds: int
    quick: bool
    gpus: int
    """Devices that the hours are for."""
    speeds: Speeds
    timings: dict[str, list[Timing] | str]
    """Timings of each part; a text says why there are none."""
