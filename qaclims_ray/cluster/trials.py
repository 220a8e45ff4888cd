"""What Ray Tune does where Ray ends a trial's process for lack of memory.

Ray says so by an `OutOfMemoryError`, of which Tune (2.60) knows nothing: it breaks off the whole
search with a trace. It goes on where the process of a trial has died in any other way.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

_METHOD = "_actor_task_failed"


@contextmanager
def lack_of_memory_is_a_death() -> Generator[None]:
    """Tell Tune, while the body runs, that a process ended for lack of memory has died."""
    original: Any = getattr(RayActorManager, _METHOD)

    # Ray calls it by the names of its parameters.
    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        original(self, tracked_actor_task=tracked_actor_task, exception=exception)

    setattr(RayActorManager, _METHOD, failed)
    try:
        yield
    finally:
        setattr(RayActorManager, _METHOD, original)
