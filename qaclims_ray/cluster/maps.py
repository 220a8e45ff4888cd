"""Map an actor over the rows of an artifact with Ray Data."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as pads
import ray
import ray.data

from qaclims_ray.cluster.capacity import Keys, capacity_of
from qaclims_ray.cluster.metrics import measured, waiting
from qaclims_ray.cluster.session import SECONDS_FOR_NODES, capacity
from qaclims_ray.cluster.tasks import on_all_cpus, together
from qaclims_ray.config.compute import Compute, Pool
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import BlockProgress, PendingBlocks
from qaclims_ray.run.faults import forget_crashes
from qaclims_ray.run.graph import ARTIFACTS, schema_of
from qaclims_ray.run.progress import watch
from qaclims_ray.run.publish import publish
from qaclims_ray.storage.filesystem import arrow_filesystem

log = logging.getLogger(__name__)

_Actor = TypeVar("_Actor", bound=Callable[[pa.Table], pa.Table])

_NOMINAL = 2**20
"""Bytes of memory that tasks on CPUs ask for, as actors don't. Ray Data fuses steps that ask for
the same: the actors would do the tasks' work too, one batch after the other."""

_CHECKED = pads.ParquetFragmentScanOptions(
    use_buffered_stream=True, buffer_size=8 * 2**20, page_checksum_verification=True
)
"""How Ray's reader reads by itself, and that it compares the checksums of pages."""


def actor_pool(
    compute: Compute, name: str, *, whole_blocks: bool = False, overlaps: bool = False
) -> dict[str, Any]:
    """Return the arguments of `map_batches` for one pool of actors.

    Args:
        compute: The section of the configuration.
        name: Pool in it, such as `corpus`.
        whole_blocks: Hand an actor whole blocks, in which it finds more images of equal size.
            `batch_size` then bounds what the network sees at a time.
        overlaps: Let an actor with a GPU work on two batches at a time, in two threads: one is
            prepared, or handed on, while the device is at the other one.

    Raises:
        ValueError: the pool can never be placed, or leaves no CPU to read with.
    """
    require_pool(compute, name)
    pool: Pool = getattr(compute, name)
    room = capacity_of(ray.nodes(), autoscales=False).places(_actor_resources(pool))
    if room < pool.num_actors:
        hours = SECONDS_FOR_NODES // 3600
        log.warning(
            f"compute.{name}: {pool.num_actors} actors are wanted, the cluster has room for {room} "
            f"now; waiting up to {hours} hours for what its autoscaler adds"
        )
    most = pool.max_actors or pool.num_actors
    is_two = overlaps and pool.num_gpus > 0
    return {
        "compute": ray.data.ActorPoolStrategy(
            min_size=pool.num_actors,
            max_size=most,
            max_concurrent_calls_per_actor=2 if is_two else None,
            enable_true_multi_threading=is_two,
        ),
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        "batch_size": max(pool.batch_size, pool.block_rows if whole_blocks else 1),
        "batch_format": "pyarrow",
    }


def require_pool(compute: Compute, name: str) -> None:
    """Check that the cluster can ever hold a pool of actors; see `actor_pool`."""
    pool: Pool = getattr(compute, name)
    keys = Keys(f"compute.{name}.num_actors", f"compute.{name}")
    # Two CPUs more: for what reads and prepares, and for what writes.
    capacity(compute).require(pool.num_actors, _actor_resources(pool), keys, spare_cpus=2.0)


def _actor_resources(pool: Pool) -> dict[str, float]:
    return {"CPU": pool.num_cpus, "GPU": pool.num_gpus}


def read_rows(shards: Sequence[str]) -> ray.data.Dataset:
    """The rows of Parquet files, wherever they lie; flipped bytes are an error."""
    filesystem, _ = arrow_filesystem(shards[0])
    return ray.data.read_parquet(
        [arrow_filesystem(shard)[1] for shard in shards],
        filesystem=filesystem,
        override_num_blocks=len(shards),  # else a small one comes in pieces
        fragment_scan_options=_CHECKED,
    )


def written_blocks(
    rows: ray.data.Dataset, write: Callable[[pa.Table], pa.Table]
) -> Iterator[pa.Table]:
    """Carry out a data set's plan; yield what tasks say that wrote its blocks, as they end.

    Ray Data's own writer and job checkpoint take 30 requests of a store for each block, and keep
    all keys in each actor that filters what is done.
    """
    written = rows.map_batches(write, batch_size=None, batch_format="pyarrow")
    yield from written.iter_batches(batch_size=None, batch_format="pyarrow")


def map_actor(
    experiment: Experiment,
    target: Artifact,
    make_actor: partial[_Actor],
    *,
    shards: Sequence[str],
    columns: Sequence[str],
    expected: int,
    pool: str | None = None,
    whole_blocks: bool = False,
    overlaps: bool = False,
    prepare: Callable[[pa.Table], Iterator[pa.Table]] | None = None,
    parts: str | None = None,
) -> None:
    """Map an actor over rows into blocks of `target.work`, going on where an earlier run stopped.

    Rows that failed before are tried again. Where none is missing no actor starts.

    Args:
        experiment: The run.
        target: Artifact under way.
        make_actor: Class whose instances turn a table of rows into an unfinished block
            (`IsolatedMap`), with the arguments of its constructor.
        shards: Parquet files to read.
        columns: Columns that the actor needs, the artifact's key (its first column) among them.
        expected: Number of rows.
        pool: Section of `compute`; None takes the artifact's own.
        whole_blocks: See `actor_pool`.
        overlaps: See `actor_pool`. Two threads then call the actor.
        prepare: What tasks on CPUs make of a block's rows, ahead of the actors: tables of few
            megabytes each. Decoded photographs of many pixels would fill the memory, and what ends
            a task, no crash log knows.
        parts: List column whose elements the progress counts too, such as `answers`.
    """
    name = pool or ARTIFACTS[target.name].pool
    assert name is not None, f"{target.name} has no pool"
    section: Pool = getattr(experiment.compute, name)
    work = PendingBlocks(target, parts)
    done = work.resume()
    forget_crashes(target)
    if done.rows == expected:
        return
    written = BlockProgress(done, parts)
    count = waiting(target.name, written, expected)
    key = schema_of(target.name).names[0]
    unit = "image" if key == "name" else key
    bar = watch(target.name, count, expected, unit=unit, detail=written.detail)
    rows = read_rows(shards).select_columns(list(columns))
    if done.rows:
        rows = rows.map_batches(work.done(), batch_size=None, batch_format="pyarrow")
    rows = rows.repartition(target_num_rows_per_block=section.block_rows)
    if prepare is not None:
        rows = rows.map_batches(
            prepare, batch_size=None, batch_format="pyarrow", num_cpus=1, memory=_NOMINAL
        )
    actors = actor_pool(experiment.compute, name, whole_blocks=whole_blocks, overlaps=overlaps)
    worker = measured(make_actor.func, target.name)
    own = {"fn_constructor_args": make_actor.args, "fn_constructor_kwargs": make_actor.keywords}
    rows = rows.map_batches(worker, **own, **actors)
    rows.set_name(target.name)
    with bar:
        for some in written_blocks(rows, PendingBlocks(target, parts).write):
            written.add(work.note(some))
    work.tidy()


def publish_all(experiment: Experiment, target: Artifact, expected: int) -> tuple[int, int]:
    """Publish a map's blocks, by Ray tasks where they are many; see `publish`."""
    data = experiment.data
    return publish(
        target,
        shard_megabytes=data.shard_megabytes,
        max_errors=data.max_errors,
        expected=expected,
        run_tasks=by_tasks,
    )


def by_tasks(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]], label: str) -> list[Any]:
    """Carry out calls by Ray tasks on all CPUs (a `RunTasks`)."""
    return together(work, calls, **on_all_cpus(), label=label)
