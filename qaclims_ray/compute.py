"""The compute section as Ray arguments; the one place where Ray's environment is set."""

import logging
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
import ray.train
from ray.data.checkpoint import CheckpointConfig

from qaclims_ray.artifacts import Artifact
from qaclims_ray.sections import Compute, Pool, Workers
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
}
_MIN_CPUS = 4


def start(compute: Compute) -> None:
    """Start Ray on this machine or connect to a cluster; nothing to do where Ray runs already."""
    if ray.is_initialized():
        return
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns that its progress bars are off, as we want them.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # A pool that is larger than a small input needs is no fault.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    _set_data_defaults()
    with _quiet_core():
        _init(compute, quiet)


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


def _set_data_defaults() -> None:
    context = ray.data.DataContext.get_current()
    # Progress is ours (progress.py), on the user's screen only.
    context.enable_progress_bars = False
    # A stage's own error, not what Ray wraps around it.
    context.raise_original_map_exception = True
    context.retried_io_errors = list(TRANSIENT_ERRORS)
    context.wait_for_min_actors_s = 600
    context.execution_no_progress_timeout_s = 1800
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
    most = max(pool.num_actors, pool.max_actors or 0)
    # Two CPUs more: for reading, and for Ray Data's filter of what a resumed stage has done.
    _check_fits(pool.num_actors * pool.num_cpus + 2, "CPU", f"{key}.num_actors or .num_cpus")
    _check_fits(pool.num_actors * pool.num_gpus, "GPU", f"{key}.num_gpus")
    return {
        "compute": ray.data.ActorPoolStrategy(min_size=pool.num_actors, max_size=most),
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        "batch_size": pool.batch_size,
        "batch_format": "pyarrow",
    }


def _check_fits(wanted: float, resource: str, keys: str) -> None:
    """Ray waits silently for what a cluster lacks; a fixed cluster can say so at once."""
    has = ray.cluster_resources().get(resource, 0.0)
    if wanted > has and not _autoscales():
        raise ValueError(
            f"{wanted:g} {resource}s are needed, the Ray cluster "
            f"has {has:g}: lower {keys}, or give compute.num_cpus or a larger cluster"
        )


def _autoscales() -> bool:
    return any(node["Resources"].get("CPU", 0) == 0 for node in ray.nodes() if node["Alive"])


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
    if workers.use_gpu:
        _check_fits(float(workers.num_workers), "GPU", "compute.train.num_workers")
    _check_fits(workers.num_workers * workers.num_cpus, "CPU", "compute.train.num_workers")
    return ray.train.ScalingConfig(
        num_workers=workers.num_workers,
        use_gpu=workers.use_gpu,
        resources_per_worker={"CPU": workers.num_cpus, **({"GPU": 1} if workers.use_gpu else {})},
    )


def run_config(workers: Workers, target: Artifact) -> ray.train.RunConfig:
    """Where a training keeps its checkpoints: the same place each time, so that it goes on."""
    filesystem, path = arrow_filesystem(f"{target.work}/train")
    return ray.train.RunConfig(
        name="fit",
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=ray.train.FailureConfig(max_failures=workers.max_failures),
        checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
    )
