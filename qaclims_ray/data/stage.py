"""Ingest: a data set's images and labels to Parquet shards; and the map over them that stages use.

Reads a data set; writes the artifact `images`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import pyarrow as pa

from qaclims_ray.artifacts import Artifact, Built, artifact, make
from qaclims_ray.attempts import Attempt, forget_deaths
from qaclims_ray.compute import actor_pool, read_rows, resuming, start, write_rows
from qaclims_ray.config import Experiment
from qaclims_ray.data.facts import COLUMNS, check_known_set, facts_of
from qaclims_ray.data.files import locate, read_all
from qaclims_ray.data.folder import LABEL_FILES
from qaclims_ray.data.readers import Data, read
from qaclims_ray.data.sources import Listing, Source, load
from qaclims_ray.data.written import Written
from qaclims_ray.parquet import read_parquet, write_parquet
from qaclims_ray.progress import watch
from qaclims_ray.sections.compute import Pool
from qaclims_ray.sections.data import Folder
from qaclims_ray.storage import absolute, find, remove
from qaclims_ray.tables import Rows, dataset, publish
from qaclims_ray.types import SCHEMAS
from qaclims_ray.work import Work, reopen, work_schema

log = logging.getLogger(__name__)

_NOMINAL = 2**20
"""Bytes of memory that tasks on CPUs ask for, as actors don't. Ray Data fuses steps that ask for
the same: the actors would do the tasks' work too, one batch after the other."""

_PREPARED = 4
"""Rows that a task prepares at a time, however many an actor takes: decoded photographs of many
pixels fill the memory, and what ends a task, no diary knows."""

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

    def _load(self, sources: Sequence[Source]) -> Rows:
        return [self._load_one(source) for source in sources]

    def _load_one(self, source: Source) -> Mapping[str, Any]:
        try:
            return load(source, num_classes=self._num_classes, max_pixels=self._max_pixels)
        except Exception as error:  # each image is loaded alone: whatever it is, it is of this one
            return {"name": source["name"], "error": f"{type(error).__name__}: {error}"}


def run(experiment: Experiment, *, overwrite: bool = False, retry_errors: bool = False) -> str:
    """Write the artifact `images` and return its summary line.

    Args:
        experiment: The run.
        overwrite: Make it anew.
        retry_errors: Where it is complete, try again what failed, unless labels changed since.
    """
    changed = not overwrite and _labels_changed(experiment)
    build = partial(_ingest, experiment)
    again = reopen if retry_errors and not changed else None
    line = make(experiment, "images", build, overwrite, again)
    if changed and "complete already" in line:
        log.warning("the labels changed since images was made: pass --overwrite to make it anew")
    return line


def _ingest(experiment: Experiment, target: Artifact) -> Built:
    start(experiment.compute)
    data = experiment.data
    digest = _labels_digest(data)
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
    facts = facts_of(dataset(target).to_table(columns=COLUMNS), listing)
    if data.limit is None:
        for warning in check_known_set(data.kind, getattr(data, "split", None), facts):
            log.warning(warning)
    known = {"class_names": list(listing.class_names), "labels_digest": digest}
    return Built(rows, errors, {**known, **facts})


def _labels_changed(experiment: Experiment) -> bool:
    """Whether complete images have other labels than the files that they were taken from."""
    manifest = artifact(experiment, "images").manifest()
    before = None if manifest is None else manifest["facts"].get("labels_digest")
    return before is not None and before != _labels_digest(experiment.data)


def _labels_digest(data: Data) -> str | None:
    """Of the files that label a folder's images; other sets take as long to read as to list."""
    if not isinstance(data, Folder):
        return None
    names = (*(LABEL_FILES if data.labels_file is None else (data.labels_file,)), "classes.txt")
    contents = read_all([locate(absolute(data.root), name) for name in names])
    texts = [one if isinstance(one, bytes) else b"" for one in contents]
    return sha256(b"\0".join(texts)).hexdigest()[:16]


def _list_sources(target: Artifact, sources: pa.Table) -> str:
    """Write what is to be loaded; rows loaded from another listing are dropped."""
    work = Work(target)
    if find(work.listing) and not read_parquet(work.listing).equals(sources):
        remove(work.checkpoint)
        remove(work.rows)
    write_parquet(sources, work.listing)
    return work.listing


def _record_errors(target: Artifact, listing: Listing) -> None:
    failed = [{"name": name, "error": reason} for name, reason in listing.errors]
    if failed:
        Work(target).put("listing", pa.Table.from_pylist(failed, work_schema("images")))


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

    Rows that failed before are tried again. Where none is missing no actor starts.

    Args:
        shards: Parquet files to read.
        columns: What the actor needs of them; the artifact's key (its first column) among them.
        target: Artifact under way.
        actor: Class whose instances turn a table of rows into an unfinished block (`Attempt`).
        arguments: Of its constructor; plain data.
        pool: Section of the configuration.
        key: Its dotted name, for errors.
        expected: Number of rows.
        prepare: What tasks on CPUs do with a batch of rows, ahead of the actors.
        parts: List column whose elements the progress counts too, such as `answers`.
    """
    work = Work(target)
    done = work.resume()
    forget_deaths(target)
    if done == expected:
        return
    written = Written(target, parts)
    bar = watch(target.name, written, expected, detail=written.detail)
    with resuming(target, SCHEMAS[target.name].names[0]), bar:
        rows = read_rows(shards).select_columns(list(columns))
        rows = rows.repartition(target_num_rows_per_block=pool.block_rows)
        if prepare is not None:
            rows = rows.map_batches(
                prepare,
                batch_size=min(pool.batch_size, _PREPARED),
                batch_format="pyarrow",
                num_cpus=1,
                memory=_NOMINAL,
            )
        rows = rows.map_batches(actor, fn_constructor_kwargs=arguments, **actor_pool(pool, key))
        write_rows(rows, work.rows)
    work.tidy()


def publish_all(experiment: Experiment, target: Artifact, expected: int) -> tuple[int, int]:
    """Publish a map's blocks; see `tables.publish`."""
    data = experiment.data
    return publish(
        target,
        shard_megabytes=data.shard_megabytes,
        max_errors=data.max_errors,
        expected=expected,
    )
