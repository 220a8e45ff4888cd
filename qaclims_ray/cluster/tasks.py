"""Many calls of a function as Ray tasks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ray

from qaclims_ray.run.progress import progress_bar

_T = TypeVar("_T")


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
    options = {"num_cpus": each["CPU"], "num_gpus": each["GPU"]}
    task = ray.remote(work).options(**options, max_retries=1, name=label)
    waiting, started, running = list(calls), list[Any](), list[Any]()
    with progress_bar(label, len(calls), unit="task") as bar:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                started.append(task.remote(*waiting.pop(0)))
                running.append(started[-1])
            _, running = ray.wait(running)
            bar.update()
    return ray.get(started)
