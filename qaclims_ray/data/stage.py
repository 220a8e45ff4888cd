"""Ingest: a data set's images and labels to Parquet shards; and the map over them that stages use.

Reads a data set; writes the artifact `images`.
"""

import logging
from collections.abc import Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from qaclims_ray.artifacts import Artifact, Built, make
from qaclims_ray.compute import actor_pool, resuming, start
from qaclims_ray.config import Experiment
from qaclims_ray.data.facts import check_known_set, facts_of
from qaclims_ray.data.readers import read
from qaclims_ray.data.sources import Listing, Source, load
from qaclims_ray.progress import watch
from qaclims_ray.sections import Pool
from qaclims_ray.storage import absolute, atomic_open, find, remove
from qaclims_ray.tables import (
    Attempt,
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

    def __init__(self, num_classes: int, max_pixels: int, max_errors: int) -> None:
        self._num_classes = num_classes
        self._max_pixels = max_pixels
        self._attempt = Attempt("images", max_errors)

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
    """
    retry_failed(target)
    committed = _Committed(target)
    if committed() == expected:
        return
    with resuming(target, SCHEMAS[target.name].names[0]), watch(target.name, committed, expected):
        rows = ray.data.read_parquet(list(shards)).select_columns(list(columns))
        rows = rows.repartition(target_num_rows_per_block=pool.block_rows)
        key = f"compute.{target.name}"
        rows = rows.map_batches(actor, fn_constructor_kwargs=arguments, **actor_pool(pool, key))
        rows.write_parquet(f"{target.work}/rows")


class _Committed:
    """Counts the rows that the checkpoint of an artifact's map says are written."""

    def __init__(self, target: Artifact) -> None:
        self._pattern = f"{target.work}/checkpoint/*.parquet"
        self._rows: dict[str, int] = {}

    def __call__(self) -> int:
        for path in find(self._pattern):
            if path not in self._rows and not path.endswith(".pending.parquet"):
                with fsspec.open(path, "rb") as file:
                    self._rows[path] = pq.read_metadata(file).num_rows
        return sum(self._rows.values())


def publish_all(experiment: Experiment, target: Artifact, expected: int) -> tuple[int, int]:
    """Publish a map's blocks; see `tables.publish`."""
    data = experiment.data
    return publish(
        target,
        shard_megabytes=data.shard_megabytes,
        max_errors=data.max_errors,
        expected=expected,
    )
