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

    def failed(manager: RayActorManager, task: Any, error: Exception) -> None:
        if isinstance(error, OutOfMemoryError):
            error = RayActorError(error_msg=str(error))
        original(manager, task, error)

    setattr(RayActorManager, _METHOD, failed)
    try:
        yield
    finally:
        setattr(RayActorManager, _METHOD, original)
