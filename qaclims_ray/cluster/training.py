"""The compute section as arguments of Ray Train and Ray Tune."""

from concurrent.futures import Future
from threading import Thread
from typing import Any, NamedTuple

import ray
import ray.train
import ray.train.torch

from qaclims_ray.cluster.capacity import Keys
from qaclims_ray.cluster.session import capacity
from qaclims_ray.config.compute import Compute, Workers
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.filesystem import arrow_filesystem
from qaclims_ray.storage.records import read_record

_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""File in which Ray Train lists its checkpoints."""
_TRIAL_CPUS = 0.01
"""CPUs of the process of a trial that waits for its workers."""


def fit(trainer: ray.train.torch.TorchTrainer) -> None:
    """Train, in a thread of its own: Ctrl-C interrupts the main one as it does all else.

    In the main thread Ray would handle the signal itself, end the process as if it had succeeded,
    and go on to handle it when the training has ended. The processes of a training go with the one
    that started it.

    Raises:
        Exception: whatever ended the training.
    """
    ended: Future[None] = Future()

    def run() -> None:
        """Pass on how it ended."""
        try:
            trainer.fit()
        except BaseException as error:  # raised again where it is waited for
            ended.set_exception(error)
        else:
            ended.set_result(None)

    Thread(target=run, daemon=True).start()
    ended.result()


class TrialResources(NamedTuple):
    """What the trials of a search take, CPUs and GPUs."""

    own: dict[str, float]
    """The process of each."""
    worker: dict[str, float]
    """What computes: that process, or each of the workers it waits for."""
    num_workers: int
    """How many of these there are at a time, all trials together."""


def trial_resources(compute: Compute) -> TrialResources:
    """What the trials of a search take.

    Raises:
        ValueError: the cluster lacks the CPUs or GPUs for the trials that run at a time, each with
            all its workers.
    """
    trials, workers = compute.tune, compute.train
    own = worker = {"CPU": trials.num_cpus, "GPU": trials.num_gpus}
    number, waiting = trials.max_concurrent, 0.0
    keys = Keys("compute.tune.max_concurrent", "compute.tune")
    if workers.num_workers:
        own, worker = {"CPU": _TRIAL_CPUS, "GPU": 0.0}, worker_resources(workers)
        number, waiting = number * workers.num_workers, number * _TRIAL_CPUS
        keys = worker_keys("compute.tune.max_concurrent")._replace(share=workers.num_workers)
    capacity(compute).require(number, worker, keys, spare_cpus=waiting)
    return TrialResources(own, worker, number)


def worker_resources(workers: Workers) -> dict[str, float]:
    """What each worker of a training takes."""
    return {"CPU": workers.num_cpus, "GPU": workers.num_gpus * workers.use_gpu}


def worker_keys(number: str = "") -> Keys:
    """Return the keys that say what a worker takes, and the one of their number."""
    return Keys(number, "compute.train", "use_gpu=false")


def scaling(compute: Compute) -> ray.train.ScalingConfig:
    """Workers of a training.

    Raises:
        ValueError: the cluster lacks the CPUs or GPUs for them.
    """
    workers = compute.train
    least = workers.min_workers or workers.num_workers
    each = worker_resources(workers)
    keys = worker_keys(f"compute.train.{'min' if workers.min_workers else 'num'}_workers")
    capacity(compute).require(least, each, keys)
    return ray.train.ScalingConfig(
        num_workers=(least, workers.num_workers) if workers.min_workers else workers.num_workers,
        use_gpu=workers.use_gpu,
        resources_per_worker={name: amount for name, amount in each.items() if amount},
    )


def run_config(workers: Workers, target: Artifact, score: str | None = None) -> ray.train.RunConfig:
    """Where a training keeps its checkpoints: the same place each time, so that it goes on.

    Args:
        workers: The section.
        target: What is trained.
        score: The reported metric by which checkpoints are kept; None keeps the latest.

    Raises:
        ValueError: what Ray Train wrote of the checkpoints is damaged.
    """
    filesystem, path = arrow_filesystem(f"{target.work}/train")
    read_record(f"{target.work}/train/{target.name}/{_SNAPSHOT}", dict[str, Any])
    return ray.train.RunConfig(
        name=target.name,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
        checkpoint_config=ray.train.CheckpointConfig(
            num_to_keep=workers.keep_checkpoints, checkpoint_score_attribute=score
        ),
    )
