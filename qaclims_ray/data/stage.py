"""Ingest: a data set's images and labels to Parquet shards; and the map over them that stages use.

Reads a data set; writes the artifact `images`.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qaclims_ray.artifacts import Artifact, Built, make
from qaclims_ray.attempts import Attempt, forget_deaths
from qaclims_ray.compute import actor_pool, read_rows, resuming, start, write_rows
from qaclims_ray.config import Experiment
from qaclims_ray.data.facts import check_known_set, facts_of
from qaclims_ray.data.readers import read
from qaclims_ray.data.sources import Listing, Source, load
from qaclims_ray.data.written import Written, num_committed
from qaclims_ray.progress import watch
from qaclims_ray.sections import Pool
from qaclims_ray.storage import absolute, atomic_open, find, remove
from qaclims_ray.tables import (
    publish,
    read_parquet,
    read_table,
    retry_failed,
    work_schema,
)
from qaclims_ray.types import SCHEMAS, ImageRow

log = logging.getLogger(__name__)

_SOURCE = pa.schema(
    [
        ("name", pa.string()),
        ("image", pa.string()),
        ("labels", pa.list_(pa.int32())),
        ("mask", pa.string()),
        ("annotations", pa.string()),
    ]
)


class Loader:
    """Ray Data actor: sources in, image rows out."""

    def __init__(
        self, num_classes: int, max_pixels: int, target: Artifact, max_errors: int
    ) -> None:
        self._num_classes = num_classes
        self._max_pixels = max_pixels
        self._attempt = Attempt(target, max_errors)

    def __call__(self, sources: pa.Table) -> pa.Table:
        """Load a batch of sources."""
        return self._attempt(sources.to_pylist(), self._load)

    def _load(self, sources: Sequence[Source]) -> list[ImageRow]:
        return [
            load(source, num_classes=self._num_classes, max_pixels=self._max_pixels)
            for source in sources
        ]


def run(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Write the artifact `images` and return its summary line."""
    return make(experiment, "images", lambda target: _ingest(experiment, target), overwrite)


def _ingest(experiment: Experiment, target: Artifact) -> Built:
    start(experiment.compute)
    data = experiment.data
    listing = read(data, absolute(experiment.run))
    sources = sorted(listing.sources, key=lambda source: source["name"])[: data.limit]
    listed = _list_sources(target, pa.Table.from_pylist(list(sources), schema=_SOURCE))
    map_rows(
        [listed],
        _SOURCE.names,
        target,
        Loader,
        {
            "num_classes": len(listing.class_names),
            "max_pixels": data.max_pixels,
            "target": target,
            "max_errors": data.max_errors,
        },
        experiment.compute.ingest,
        "compute.ingest",
        expected=len(sources),
    )
    _record_errors(target, listing)
    rows, errors = publish_all(experiment, target, len(sources) + len(listing.errors))
    facts = facts_of(read_table(target, ["height", "width", "labels", "mask"]), listing)
    if data.limit is None:
        for warning in check_known_set(data.kind, getattr(data, "split", None), facts):
            log.warning(warning)
    return Built(rows, errors, {"class_names": list(listing.class_names), **facts})


def _list_sources(target: Artifact, sources: pa.Table) -> str:
    """Write what is to be loaded; rows loaded from another listing are dropped."""
    listed = f"{target.work}/listing/part-00000.parquet"
    found = find(listed)
    if not found or not read_parquet(listed).equals(sources):
        for folder in ("rows", "checkpoint"):
            remove(f"{target.work}/{folder}")
    with atomic_open(listed) as file:
        pq.write_table(sources, file)
    return listed


def _record_errors(target: Artifact, listing: Listing) -> None:
    failed = [{"name": name, "error": reason} for name, reason in listing.errors]
    with atomic_open(f"{target.work}/rows/listing.parquet") as file:
        pq.write_table(pa.Table.from_pylist(failed, schema=work_schema("images")), file)


def map_rows(
    shards: Sequence[str],
    columns: Sequence[str],
    target: Artifact,
    actor: type,
    arguments: dict[str, Any],
    pool: Pool,
    key: str,
    *,
    expected: int,
    prepare: Callable[[pa.Table], pa.Table] | None = None,
    parts: str | None = None,
) -> None:
    """Map an actor over rows into blocks of `target.work`, going on where an earlier run stopped.

    Nothing is started, and no model loaded, where no row is missing.

    Args:
        shards: Parquet files to read.
        columns: What the actor needs of them; the artifact's key (its first column) among them.
        target: Artifact under way.
        actor: Class whose instances turn a table of rows into an unfinished block (`Attempt`).
        arguments: Of its constructor; plain data.
        pool: Section of the configuration.
        key: Its dotted name, for errors.
        expected: Number of rows.
        prepare: What tasks on CPUs do with a batch of rows before an actor gets it.
        parts: List column whose elements the progress counts too, such as `answers`.
    """
    retry_failed(target)
    forget_deaths(target)
    if num_committed(target) == expected:
        return
    written = Written(target, parts)
    bar = watch(target.name, written, expected, detail=written.detail)
    with resuming(target, SCHEMAS[target.name].names[0]), bar:
        rows = read_rows(shards).select_columns(list(columns))
        rows = rows.repartition(target_num_rows_per_block=pool.block_rows)
        if prepare is not None:
            rows = rows.map_batches(
                prepare, batch_size=pool.batch_size, batch_format="pyarrow", num_cpus=1
            )
        rows = rows.map_batches(actor, fn_constructor_kwargs=arguments, **actor_pool(pool, key))
        write_rows(rows, f"{target.work}/rows")


def publish_all(experiment: Experiment, target: Artifact, expected: int) -> tuple[int, int]:
    """Publish a map's blocks; see `tables.publish`."""
    data = experiment.data
    return publish(
        target,
        shard_megabytes=data.shard_megabytes,
        max_errors=data.max_errors,
        expected=expected,
    )
