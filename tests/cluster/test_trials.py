from types import SimpleNamespace

import pytest
from ray.air.execution import FixedResourceManager
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.exceptions import RaySystemError as OtherError

from qaclims_ray.cluster.trials import lack_of_memory_is_a_death


def _failed(error):
    """What Tune's manager of processes says of a task that failed by an error."""
    told = []
    actor = SimpleNamespace(actor_id=1, _on_error=None)
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda _, error: told.append(error))
    manager = RayActorManager(FixedResourceManager({"CPU": 1}))
    manager._cleanup_actor = lambda tracked_actor: None
    manager._actor_task_failed(tracked_actor_task=task, exception=error)
    return told


def test_a_trial_that_was_ended_for_lack_of_memory_is_one_whose_process_died():
    error = OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.")
    with pytest.raises(RuntimeError, match="Caught unexpected"):  # so does Tune by itself
        _failed(error)
    with lack_of_memory_is_a_death():
        (told,) = _failed(error)
        assert isinstance(told, RayActorError)
        assert "low on memory" in str(told)
        with pytest.raises(RuntimeError, match="Caught unexpected"):
            _failed(OtherError("other"))
    with pytest.raises(RuntimeError, match="Caught unexpected"):
        _failed(error)
