"""Ingest a data set: its images, labels and masks become the artifact `images` or `new_images`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.cluster.maps import by_tasks, map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.data import Data
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.ingest.facts import (
    COLUMNS,
    check_known_set,
    check_missing,
    count_facts,
    published_counts,
)
from qaclims_ray.ingest.fingerprint import changes, fingerprint
from qaclims_ray.ingest.listed import SOURCE, ListedSources
from qaclims_ray.ingest.mask_facts import check_masks, count_masks
from qaclims_ray.ingest.readers import read
from qaclims_ray.ingest.sources import MaskError, Read, Source, load, load_mask
from qaclims_ray.run.artifact import MASK_ERRORS, Artifact, artifact, job_of
from qaclims_ray.run.blocks import PendingBlocks, reopen, work_schema
from qaclims_ray.run.faults import IsolatedMap, StageError
from qaclims_ray.run.file_names import write_file_names
from qaclims_ray.run.graph import data_of
from qaclims_ray.run.images import identity_without_masks
from qaclims_ray.run.make import make, tell_errors
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.sorted_index import run_here
from qaclims_ray.run.tables import batches_of, dataset, write_errors
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import exists, read_bytes
from qaclims_ray.storage.members import read_members
from qaclims_ray.storage.paths import absolute

log = logging.getLogger(__name__)

_FEW = 2**15
"""Images that are digested sooner than Ray starts its tasks."""
_WORLDS = {"images": "world", "new_images": "new_world"}
"""Folder of a run that the demo's images are drawn into."""


class Loader:
    """Ray Data actor: sources in, image rows out."""

    def __init__(self, data: Data, num_classes: int, target: Artifact) -> None:
        self._data = data
        self._num_classes = num_classes
        self._map = IsolatedMap(target, data.max_errors)
        self._num_bad_masks = 0

    def __call__(self, sources: pa.Table) -> pa.Table:
        """Load a batch of sources."""
        return self._map(sources.to_pylist(), self._load_all)

    def _load_all(self, sources: Sequence[Source]) -> list[Mapping[str, Any]]:
        files = (source[key] for source in sources for key in ("image", "mask"))
        ahead = read_members(file for file in files if file is not None)

        def read(path: str) -> bytes:
            return ahead[path] if path in ahead else read_bytes(path)

        return [self._load(source, read) for source in sources]

    def _load(self, source: Source, read: Read) -> Mapping[str, Any]:
        try:
            data = self._data
            return load(
                source,
                num_classes=self._num_classes,
                max_pixels=data.max_pixels,
                max_side=data.max_side,
                read=read,
            )
        except MaskError as error:
            self._num_bad_masks += 1
            if self._num_bad_masks > self._data.max_errors:
                raise StageError(too_many(self._data.max_errors, source["name"], error)) from error
            return self._load(Source({**source, "mask": None, "annotations": None}), read)
        except Exception as error:  # images are loaded one by one: any error is this one's own
            return {"name": source["name"], "error": f"{type(error).__name__}: {error}"}


def too_many(most: int, name: str, error: MaskError) -> str:
    """Say that more masks are bad than rows may fail."""
    return (
        f"more than data.max_errors = {most} masks are bad; the last: {name}: {error}\nMend the "
        "masks, or raise data.max_errors: a bad one costs its image nothing but its ground truth."
    )


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
    listed = ListedSources(target, listing.sources, data.limit)
    listing = replace(listing, sources=[])  # nothing of all sources stays while they are loaded
    map_actor(
        experiment,
        target,
        partial(Loader, data=data, num_classes=len(listing.class_names), target=target),
        shards=listed.shards,
        columns=SOURCE.names,
        expected=listed.num_sources,
    )
    failed = [{"name": name, "error": reason} for name, reason in listing.errors]
    if failed:
        PendingBlocks(target).put("listing", pa.Table.from_pylist(failed, work_schema(target.name)))
    rows, errors = publish_all(experiment, target, listed.num_sources + len(failed))
    write_file_names(target, listed.paths)
    images = dataset(target)
    bad = _bad_masks(data, target, listed, len(listing.class_names))
    write_errors(target, MASK_ERRORS, bad)
    tell_errors(target, MASK_ERRORS, "masks are bad, their images have no ground truth")
    facts = count_facts(batches_of(target, COLUMNS), listing)
    facts["fingerprint"] = said
    facts["num_bad_masks"] = len(bad)
    facts["masks"] = count_masks(images, listing.class_names)
    for warning in check_masks(facts["masks"]):
        log.warning(warning)
    own = getattr(data, "annotations", None) is not None
    split = None if own or data.limit is not None else getattr(data, "split", None)
    try:
        check_missing(facts, errors, published_counts(data.kind, split)[0], data.max_missing)
    except ValueError:
        tell_errors(target)
        raise
    if data.limit is None:
        for warning in check_known_set(data.kind, split, facts, errors):
            log.warning(warning)
    run_tasks = by_tasks if rows > _FEW else run_here
    unmasked = identity_without_masks(target, listing.class_names, run_tasks)
    return Built(rows, errors, {**facts, "identity_without_masks": unmasked})


def _bad_masks(
    data: Data, target: Artifact, listed: ListedSources, num_classes: int
) -> dict[str, str]:
    """Find the reasons why images have no mask that should have one, by their names.

    Raises:
        ValueError: there are more than rows may fail.
    """
    look = partial(load_mask, num_classes=num_classes, max_pixels=data.max_pixels)
    reasons: dict[str, str] = {}
    for source, size in _without_mask(target, listed):
        fault = attempt(look, source, read_bytes(source["image"]), size)
        if isinstance(fault, MaskError):
            reasons[source["name"]] = str(fault)
            if len(reasons) > data.max_errors:
                raise ValueError(too_many(data.max_errors, source["name"], fault))
    return reasons


def _without_mask(
    target: Artifact, listed: ListedSources
) -> Iterator[tuple[Source, tuple[int, int]]]:
    """Images without the mask that they should have, with their height and width."""
    columns, masked = ["name", "height", "width"], listed.masked()
    source = next(masked, None)
    for batch in batches_of(target, columns, pads.field("mask").is_null()):
        for row in batch.to_pylist():
            while source is not None and source["name"] < row["name"]:
                source = next(masked, None)
            if source is not None and source["name"] == row["name"]:
                yield source, (row["height"], row["width"])


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
