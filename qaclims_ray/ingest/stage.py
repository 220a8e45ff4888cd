"""Ingest: a data set's images and labels to Parquet shards; and the map over them that stages use.

Reads a data set; writes the artifact `images`.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import pyarrow as pa

from qaclims_ray.cluster.maps import (
    map_actor,
    publish_all,
)
from qaclims_ray.cluster.session import start
from qaclims_ray.config.data import Folder
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.ingest.facts import COLUMNS, check_known_set, facts_of
from qaclims_ray.ingest.folder import LABEL_FILES
from qaclims_ray.ingest.readers import Data, read
from qaclims_ray.ingest.sources import Listing, Source, load
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.blocks import Work, reopen, work_schema
from qaclims_ray.run.faults import Attempt
from qaclims_ray.run.tables import Rows, dataset
from qaclims_ray.storage.files import find, read_all, remove
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.storage.paths import absolute, locate

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
    map_actor(
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
