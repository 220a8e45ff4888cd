"""Many calls of a function as Ray tasks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypedDict, TypeVar

import ray

from qaclims_ray.run.progress import progress_bar

_T = TypeVar("_T")


class Resources(TypedDict):
    """What tasks take, as `together` is told."""

    each: Mapping[str, float]
    at_a_time: int


def together(
    work: Callable[..., _T],
    calls: Sequence[tuple[Any, ...]],
    each: Mapping[str, float],
    at_a_time: int,
    label: str,
) -> list[_T]:
    """Carry out calls as Ray tasks, some at a time; their results in order.

    A task whose process or node is lost starts once more. One that fails stops no other; its error
    is raised when all have ended.

    Args:
        work: Called in a process of its own each time.
        calls: Its arguments.
        each: CPUs and GPUs of a task, which the cluster has.
        at_a_time: Tasks at most.
        label: Of the progress bar, and of the tasks in Ray's dashboard.
    """
    results = dict(as_they_end(work, calls, each, at_a_time, label, len(calls)))
    return [results[number] for number in range(len(calls))]


def as_they_end(
    work: Callable[..., _T],
    calls: Iterable[tuple[Any, ...]],
    each: Mapping[str, float],
    at_a_time: int,
    label: str,
    num_calls: int,
) -> Iterator[tuple[int, _T]]:
    """Carry out calls as `together` does; each one's number and result as soon as it has ended.

    A call is asked for when it can start, so that the arguments of all need not be there at once.
    """
    options = {"num_cpus": each["CPU"], "num_gpus": each["GPU"]}
    task = ray.remote(work).options(**options, max_retries=1, name=label)
    waiting, running, failed = enumerate(calls), dict[Any, int](), dict[int, Exception]()
    with progress_bar(label, num_calls, unit="task") as bar:
        while True:
            for number, arguments in islice(waiting, at_a_time - len(running)):
                running[task.remote(*arguments)] = number
            if not running:
                break
            (ended,), _ = ray.wait(list(running))
            number = running.pop(ended)
            bar.update()
            try:
                result: _T = ray.get(ended)
            except Exception as error:
                failed[number] = error
            else:
                yield number, result
    if failed:
        raise failed[min(failed)]


def on_all_cpus() -> Resources:
    """A CPU for each task, and as many tasks at a time as the cluster has CPUs."""
    num_cpus = int(ray.cluster_resources().get("CPU", 1))
    return {"each": {"CPU": 1.0, "GPU": 0.0}, "at_a_time": max(1, num_cpus)}
