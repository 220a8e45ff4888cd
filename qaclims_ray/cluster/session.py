"""The compute section as Ray arguments; the one place where Ray's environment is set."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from secrets import token_hex
from textwrap import shorten
from typing import Any, TypeVar

import ray
import ray.data
from ray.exceptions import NodeDiedError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as NodeAffinity

from qaclims_ray.cli import ends_work
from qaclims_ray.cluster.capacity import Capacity, capacity_of
from qaclims_ray.cluster.deaths import watch_ray
from qaclims_ray.config.compute import Compute
from qaclims_ray.storage.filesystem import TRANSIENT_ERRORS

ENVIRONMENT = {
    # Workers stay in the driver's folder, so that relative paths of weights mean the same there.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would copy `uv run` into every worker, which then resolves the project anew.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # What the C++ core reports to the screen besides its log files concerns Ray's developers.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "TOKENIZERS_PARALLELISM": "false",
    # Ray Train looks every two seconds whether its workers have started, or ended.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # Of Tune: no files but those asked for, and no tables on the screen.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # It warns of the snapshots that it takes so that no checkpoint is lost.
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Ctrl-C would end a search as if its trials were all there.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
log = logging.getLogger(__name__)

_T = TypeVar("_T")
_MIN_CPUS = 4
SECONDS_FOR_NODES = 24 * 3600
"""How long a stage waits for nodes where an autoscaler adds them: spot nodes may be sold out."""


def start(compute: Compute) -> None:
    """Start Ray on this machine or connect to a cluster; nothing to do where Ray runs already."""
    context = ray.data.DataContext.get_current()
    if ray.is_initialized():
        return
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns that it demands a token, as we want it.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # It warns that its progress bars are off, as we want them.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # It advises to raise the memory that tasks ask for, which is nominal (`cluster/maps.py`).
    logging.getLogger("ray.data._internal.issue_detection").setLevel(logging.ERROR)
    # Its traces of what ends a stage; the job says it in one message.
    for name in ("exceptions", "_internal.execution.streaming_executor_state"):
        logging.getLogger(f"ray.data.{name}").setLevel(logging.CRITICAL)
    # A pool that is larger than a small input needs is no fault.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    _set_data_defaults(context)
    _init_patiently(compute)
    ends_work(watch_ray())
    grows = capacity(compute).grows
    context.wait_for_min_actors_s = SECONDS_FOR_NODES if grows else 600
    context.execution_no_progress_timeout_s = SECONDS_FOR_NODES if grows else 1800


def _init_patiently(compute: Compute) -> None:
    """Start Ray, once more where a busy machine did not do it in time.

    Raises:
        ValueError: it did not do it the second time either.
    """
    for is_last in (False, True):
        try:
            with _quiet_core():
                _init(compute)
            return
        except Exception as error:
            if not re.search(r"(?i)timed out|timeout", f"{type(error).__name__}: {error}"):
                raise
            ray.shutdown()
            reason = shorten(str(error), 200)
            if is_last:
                raise ValueError(
                    f"Ray did not start in time, twice: {reason}. The machine is busy, or short of "
                    "memory: the same command goes on, once there is less to do"
                ) from error
            log.warning("Ray did not start in time, trying once more: %s", reason)


def _init(compute: Compute) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    # `ray job submit` sets RAY_ADDRESS: a job runs on the cluster that it was submitted to.
    address = compute.address or os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, **quiet)
        return
    # Its ports are open to the network: who joins runs commands as this user. With a token there
    # Ray demands it, unless the user has chosen RAY_AUTH_MODE or has a token of their own.
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = token_hex(32)
    # Nobody takes this machine away with a warning: no process that waits for one.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
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
    # The newer Parquet reader compares no checksums, whatever it is asked for (Ray 2.60).
    context.use_datasource_v2 = False
    # A stage's own error, not what Ray wraps around it.
    context.raise_original_map_exception = True
    context.retried_io_errors = list(TRANSIENT_ERRORS)
    context.actor_init_retry_on_errors = True
    # A model that always ends its process while it loads stops the stage.
    context.max_consecutive_actor_init_deaths = 3


def capacity(compute: Compute) -> Capacity:
    """Return what the cluster can ever give: its nodes, and those that it may grow by."""
    return capacity_of(ray.nodes(), compute.autoscales)


def object_store_bytes() -> int:
    """Add up the object stores of all nodes."""
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
