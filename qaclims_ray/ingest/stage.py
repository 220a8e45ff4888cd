"""Ingest a data set: its images, labels and masks become the artifact `images` or `new_images`."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.data import Data
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.ingest.facts import COLUMNS, check_known_set, count_facts
from qaclims_ray.ingest.fingerprint import changes, fingerprint
from qaclims_ray.ingest.mask_facts import check_masks, count_masks
from qaclims_ray.ingest.readers import read
from qaclims_ray.ingest.sources import Source, load
from qaclims_ray.run.artifact import Artifact, Built, artifact, job_of
from qaclims_ray.run.blocks import PendingBlocks, reopen, work_schema
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import data_of
from qaclims_ray.run.images import identity_without_masks
from qaclims_ray.run.lineage import WITHOUT_MASKS
from qaclims_ray.run.make import make
from qaclims_ray.run.tables import dataset
from qaclims_ray.storage.files import exists, find, remove
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.storage.paths import absolute

log = logging.getLogger(__name__)

_WORLDS = {"images": "world", "new_images": "new_world"}
"""Folder of a run that the demo's images are drawn into."""
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

    def __init__(self, data: Data, num_classes: int, target: Artifact) -> None:
        self._data = data
        self._num_classes = num_classes
        self._map = IsolatedMap(target, data.max_errors)

    def __call__(self, sources: pa.Table) -> pa.Table:
        """Load a batch of sources."""
        return self._map(sources.to_pylist(), lambda rows: [self._load(row) for row in rows])

    def _load(self, source: Source) -> Mapping[str, Any]:
        try:
            return load(source, num_classes=self._num_classes, max_pixels=self._data.max_pixels)
        except Exception as error:  # images are loaded one by one: any error is this one's own
            return {"name": source["name"], "error": f"{type(error).__name__}: {error}"}


def run(
    experiment: Experiment,
    name: str = "images",
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write an artifact of images and return its summary line.

    Args:
        experiment: The run.
        name: `images`, or `new_images`.
        overwrite: Make it anew.
        retry_errors: Where it is complete, try again what failed, unless labels, classes or masks
            changed since.
    """
    changed = [] if overwrite else _changes(experiment, name)
    build = partial(_ingest, experiment)
    again = reopen if retry_errors and not changed else None
    line = make(experiment, name, build, overwrite, again)
    if changed and "complete already" in line:
        kept = "; what was made from all but the masks stays of use" if changed == ["masks"] else ""
        log.warning(
            "the %s changed since %s was made: run %s --overwrite to take them%s",
            *(" and ".join(changed), name, job_of(name), kept),
        )
    return line


def _ingest(experiment: Experiment, target: Artifact) -> Built:
    start(experiment.compute)
    data = data_of(experiment, target.name)
    said = fingerprint(data)
    listing = read(data, f"{absolute(experiment.run)}/{_WORLDS[target.name]}")
    for warning in listing.warnings:
        log.warning(warning)
    sources = sorted(listing.sources, key=lambda source: source["name"])[: data.limit]
    listed = _list_sources(target, pa.Table.from_pylist(list(sources), schema=_SOURCE))
    map_actor(
        experiment,
        target,
        Loader,
        {"data": data, "num_classes": len(listing.class_names), "target": target},
        shards=[listed],
        columns=_SOURCE.names,
        expected=len(sources),
    )
    failed = [{"name": name, "error": reason} for name, reason in listing.errors]
    if failed:
        PendingBlocks(target).put("listing", pa.Table.from_pylist(failed, work_schema(target.name)))
    rows, errors = publish_all(experiment, target, len(sources) + len(failed))
    images = dataset(target)
    facts = count_facts(images.to_table(columns=COLUMNS), listing)
    facts["fingerprint"] = said
    facts["masks"] = count_masks(images, listing.class_names)
    for warning in check_masks(facts["masks"]):
        log.warning(warning)
    if data.limit is None:
        own = getattr(data, "annotations", None) is not None
        split = None if own else getattr(data, "split", None)
        for warning in check_known_set(data.kind, split, facts):
            log.warning(warning)
    unmasked = identity_without_masks(target, listing.class_names)
    return Built(rows, errors, {**facts, WITHOUT_MASKS: unmasked})


def _list_sources(target: Artifact, sources: pa.Table) -> str:
    """Write the sources to load; drop rows that were loaded from another listing."""
    work = PendingBlocks(target)
    if find(work.listing) and not read_parquet(work.listing, _SOURCE).equals(sources):
        remove(work.checkpoint)
        remove(work.rows)
    write_parquet(sources, work.listing)
    return work.listing


def _changes(experiment: Experiment, name: str) -> list[str]:
    """Return which of labels, classes and masks have changed since images were made of them."""
    manifest = artifact(experiment, name).manifest()
    before = None if manifest is None else manifest["facts"].get("fingerprint")
    data = data_of(experiment, name)
    root: str | None = getattr(data, "root", None)
    if before is None or root is None or not exists(root):  # images that are made need no data
        return []
    now = fingerprint(data)
    return [] if now is None else changes(before, now)
