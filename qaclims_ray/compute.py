"""The compute section as Ray arguments; the one place where Ray's environment is set."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import ray
import ray.data
import ray.train
from ray.data.checkpoint import CheckpointConfig
from ray.exceptions import NodeDiedError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as NodeAffinity

from qaclims_ray.artifacts import Artifact
from qaclims_ray.capacity import Capacity, capacity_of
from qaclims_ray.sections.compute import Compute, Pool, Workers
from qaclims_ray.storage import TRANSIENT_ERRORS, arrow_filesystem

ENVIRONMENT = {
    # Workers stay in the driver's folder, so that relative paths of weights mean the same there.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would copy `uv run` into every worker, which then resolves the project anew.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The Parquet reader starts so many actors for each read; the default is 32.
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",
    # What the C++ core reports to the screen besides its log files concerns Ray's developers.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "TOKENIZERS_PARALLELISM": "false",
    # Of Tune: no files but those asked for, and no tables on the screen.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # It warns of the snapshots that it takes so that no checkpoint is lost.
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
log = logging.getLogger(__name__)

_T = TypeVar("_T")
_MIN_CPUS = 4
_AUTOSCALES = "qaclims_ray.autoscales"
_SECONDS_FOR_NODES = 24 * 3600
"""How long a stage waits for nodes where an autoscaler adds them: spot nodes may be sold out."""
_TRIAL_CPUS = 0.01
"""CPUs of the process of a trial that waits for its workers."""


def start(compute: Compute) -> None:
    """Start Ray on this machine or connect to a cluster; nothing to do where Ray runs already."""
    context = ray.data.DataContext.get_current()
    context.set_config(_AUTOSCALES, compute.autoscales)
    if ray.is_initialized():
        return
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns that its progress bars are off, as we want them.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # It advises to raise the memory that tasks ask for, which is nominal (`data/stage.py`).
    logging.getLogger("ray.data._internal.issue_detection").setLevel(logging.ERROR)
    # Its traces of what ends a stage; the job says it in one message.
    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
    # A pool that is larger than a small input needs is no fault.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    _set_data_defaults(context)
    with _quiet_core():
        _init(compute, quiet)
    grows = capacity().grows
    context.wait_for_min_actors_s = _SECONDS_FOR_NODES if grows else 600
    context.execution_no_progress_timeout_s = _SECONDS_FOR_NODES if grows else 1800


def _init(compute: Compute, quiet: dict[str, Any]) -> None:
    # `ray job submit` sets RAY_ADDRESS: a job runs on the cluster that it was submitted to.
    address = compute.address or os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, **quiet)
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of one process's own
    megabytes = compute.object_store_megabytes
    ray.init(
        address="local",
        num_cpus=compute.num_cpus or max(_MIN_CPUS, os.cpu_count() or 1),
        object_store_memory=None if megabytes is None else megabytes * 2**20,
        include_dashboard=False,
        **quiet,
    )


@contextmanager
def _quiet_core() -> Generator[None]:
    """Keep from the screen what the C++ core says of its log level while it starts."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _set_data_defaults(context: ray.data.DataContext) -> None:
    # Progress is ours (progress.py), on the user's screen only.
    context.enable_progress_bars = False
    # A stage's own error, not what Ray wraps around it.
    context.raise_original_map_exception = True
    context.retried_io_errors = list(TRANSIENT_ERRORS)
    context.actor_init_retry_on_errors = True
    # A model that always ends its process while it loads stops the stage.
    context.max_consecutive_actor_init_deaths = 3


def actor_pool(pool: Pool, key: str) -> dict[str, Any]:
    """Arguments of `map_batches` for one pool of actors.

    Args:
        pool: The section of the stage.
        key: Its dotted name, for errors.

    Raises:
        ValueError: the pool could never be placed, or would leave no CPU to read with.
    """
    require_pool(pool, key)
    room = capacity_of(ray.nodes(), autoscales=False).places(_actor_resources(pool))
    if room < pool.num_actors:
        hours = _SECONDS_FOR_NODES // 3600
        log.warning(
            f"{key}: {pool.num_actors} actors are wanted, the cluster has room for {room} now; "
            f"waiting up to {hours} hours for what its autoscaler adds"
        )
    most = pool.max_actors or pool.num_actors
    return {
        "compute": ray.data.ActorPoolStrategy(min_size=pool.num_actors, max_size=most),
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        "batch_size": pool.batch_size,
        "batch_format": "pyarrow",
    }


def require_pool(pool: Pool, key: str) -> None:
    """Check that the cluster can ever hold a pool of actors; see `actor_pool`."""
    keys = f"{key}.num_actors, .num_cpus or .num_gpus"
    # Two CPUs more: for reading, and for Ray Data's filter of what a resumed stage has done.
    capacity().require(pool.num_actors, _actor_resources(pool), keys, spare_cpus=2.0)


def _actor_resources(pool: Pool) -> dict[str, float]:
    return {"CPU": pool.num_cpus, "GPU": pool.num_gpus}


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
    if workers.num_workers:
        own, worker = {"CPU": _TRIAL_CPUS, "GPU": 0.0}, worker_resources(workers)
        number, waiting = number * workers.num_workers, number * _TRIAL_CPUS
    keys = "compute.tune.max_concurrent, or what each trial takes (compute.tune, compute.train)"
    capacity().require(number, worker, keys, spare_cpus=waiting)
    return TrialResources(own, worker, number)


def worker_resources(workers: Workers) -> dict[str, float]:
    """What each worker of a training takes."""
    return {"CPU": workers.num_cpus, "GPU": workers.num_gpus * workers.use_gpu}


def capacity() -> Capacity:
    """What the cluster can ever give."""
    return capacity_of(ray.nodes(), ray.data.DataContext.get_current().get_config(_AUTOSCALES))


def object_store_bytes() -> int:
    """Of all nodes together."""
    return int(ray.cluster_resources().get("object_store_memory", 0))


def on_each_node(look: Callable[..., _T], *arguments: Any) -> dict[str, _T]:
    """What a function finds on every node, by the node's address.

    It takes no CPU, so that nodes without any are asked too. A node that is lost meanwhile has no
    answer.
    """
    asked = {
        f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})": ray.remote(look)
        .options(num_cpus=0, scheduling_strategy=NodeAffinity(node["NodeID"], soft=False))
        .remote(*arguments)
        for node in ray.nodes()
        if node["Alive"]
    }
    found: dict[str, _T] = {}
    for name, answer in asked.items():
        with suppress(NodeDiedError, TaskUnschedulableError, WorkerCrashedError):
            found[name] = ray.get(answer)
    return found


def read_rows(shards: Sequence[str]) -> ray.data.Dataset:
    """The rows of Parquet files, wherever they lie."""
    filesystem, _ = arrow_filesystem(shards[0])
    return ray.data.read_parquet(
        [arrow_filesystem(shard)[1] for shard in shards], filesystem=filesystem
    )


def write_rows(rows: ray.data.Dataset, folder: str) -> None:
    """Carry out a data set's plan and write its blocks as Parquet files."""
    filesystem, path = arrow_filesystem(folder)
    rows.write_parquet(path, filesystem=filesystem)


@contextmanager
def resuming(artifact: Artifact, key: str) -> Generator[None]:
    """Datasets made in the body go on from the rows that `artifact.work` holds already.

    Ray Data's job checkpoint: exactly once for each value of the column `key`, also after SIGKILL
    of the driver.
    """
    context = ray.data.DataContext.get_current()
    filesystem, path = arrow_filesystem(f"{artifact.work}/checkpoint")
    context.checkpoint_config = CheckpointConfig(
        key, path, override_filesystem=filesystem, delete_checkpoint_on_success=False
    )
    try:
        yield
    finally:
        context.checkpoint_config = None


def scaling(workers: Workers) -> ray.train.ScalingConfig:
    """Workers of a training.

    Raises:
        ValueError: the cluster lacks the CPUs or GPUs for them.
    """
    least = workers.min_workers or workers.num_workers
    each = worker_resources(workers)
    capacity().require(least, each, "compute.train.num_workers or .num_cpus")
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
    """
    filesystem, path = arrow_filesystem(f"{target.work}/train")
    return ray.train.RunConfig(
        name="fit",
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
        checkpoint_config=ray.train.CheckpointConfig(
            num_to_keep=workers.keep_checkpoints, checkpoint_score_attribute=score
        ),
    )
