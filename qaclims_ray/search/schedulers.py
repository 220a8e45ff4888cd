"""Tune's schedulers, under which `compute.tune` of today holds for a search that is taken up, too.

Tune restores trials, searcher and time budget as they were saved, with the values of that time,
and starts all unfinished trials at once. Each trial, restored or new, is added through its
scheduler: there the values of today replace them, and what is too many waits for its turn.
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining
from ray.tune.stopper import NoopStopper, TimeoutStopper

from qaclims_ray.config.compute import Trials

_BUSY = (Trial.PENDING, Trial.RUNNING)


class Fifo(FIFOScheduler):
    """Trials in their order."""

    def __init__(self, limits: Trials, **settings: Any) -> None:
        """`settings` are those of the scheduler that a subclass names beside this one."""
        super().__init__(**settings)
        self._limits = limits

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Give a trial, its searcher and the time budget the values of today."""
        limits, searcher = self._limits, tune_controller.search_alg
        getattr(searcher, "searcher", searcher).max_concurrent = limits.max_concurrent
        _renew_budget(tune_controller._tune_controller, limits.max_seconds)
        trial.max_failures = limits.max_failures
        if self._num_busy(tune_controller) > limits.max_concurrent:  # with this one
            trial.set_status(Trial.PAUSED)
        super().on_trial_add(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The scheduler's choice, unless it waits and there is no room for it yet."""
        trial = super().choose_trial_to_run(tune_controller)
        full = self._num_busy(tune_controller) >= self._limits.max_concurrent
        return None if trial is not None and trial.status == Trial.PAUSED and full else trial

    def _num_busy(self, tune_controller: Any) -> int:
        return sum(trial.status in _BUSY for trial in tune_controller.get_trials())


class Asha(Fifo, ASHAScheduler):
    """Trials that lag behind are stopped."""


class Pbt(Fifo, PopulationBasedTraining):
    """Trials that lag behind go on from the weights of better ones."""


def _renew_budget(controller: Any, max_seconds: float | None) -> None:
    """A budget that has changed starts anew; else what is left of it holds."""
    if getattr(controller._stopper, "_timeout_seconds", None) != max_seconds:
        controller._stopper = NoopStopper() if max_seconds is None else TimeoutStopper(max_seconds)
