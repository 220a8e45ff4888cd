"""How the images of a training come to a node: all of them, or a part at a time."""

import logging
import math
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.train.groups import Survey, survey
from qaclims_ray.train.rows import Rows, save_rows
from qaclims_ray.train.sets import BufferedSet, least_buffer
from qaclims_ray.train.task import TRAININGS, images_per_step

log = logging.getLogger(__name__)

KEY = "compute.train.cache_gigabytes"


class Plan(NamedTuple):
    """What a training learns from, and how it comes to the nodes."""

    rows: Rows
    found: Survey
    class_names: tuple[str, ...]
    """Names of the classes in the order of their indices."""
    buffer_bytes: int | None
    """What is on a node's disk at a time; None: all."""


def plan(experiment: Experiment, network: str) -> Plan:
    """Look what a training learns from, and whether it fits into the cache; log if it does not.

    Raises:
        ValueError: an artifact is missing; or the cache is too small, see `cache_problem`.
    """
    rows = TRAININGS[network].rows(experiment.anchored())
    found, names = survey(rows), class_names(artifact(experiment, "images"))
    if not is_buffered(experiment, found.num_bytes):
        return Plan(rows, found, names, None)
    problem = cache_problem(experiment, network, found.num_bytes, int(found.groups.sizes.max()))
    if problem is not None:
        raise ValueError(problem)
    log.warning("%s: %s", network, buffered_note(experiment, found.num_bytes))
    return Plan(rows, found, names, cache_bytes(experiment))


def cache_bytes(experiment: Experiment) -> int | None:
    """Return the bytes that a training may hold on a node's disk; None: as many as it needs."""
    gigabytes = experiment.compute.train.cache_gigabytes
    return None if gigabytes is None else round(1e9 * gigabytes)


def is_buffered(experiment: Experiment, num_bytes: int) -> bool:
    """Tell whether a training's rows are more than the cache holds."""
    cache = cache_bytes(experiment)
    return cache is not None and num_bytes > cache


def buffered_note(experiment: Experiment, num_bytes: int) -> str:
    """Say for people what becomes of a training whose rows are more than the cache holds."""
    return (
        f"about {in_gigabytes(num_bytes)} of images are more than {KEY}="
        f"{experiment.compute.train.cache_gigabytes:g}: a node holds a part of them at a time, and "
        "the order of an epoch is a shuffle of row groups, and of the rows of those that are there"
    )


def cache_problem(experiment: Experiment, network: str, num_bytes: int, largest: int) -> str | None:
    """Return why a training cannot read its rows through the cache; None: it can.

    Args:
        experiment: The run.
        network: Name of the network in `TRAININGS`.
        num_bytes: Of all rows, which are more than the cache holds.
        largest: Bytes of the largest row group.
    """
    whole = f"set {KEY} to {round_up(num_bytes):g} or more, or to null"
    key = TRAININGS[network].needs_whole(experiment)
    if key is not None:
        return (
            f"{network}: {key} draws images from the whole set, which is more than {KEY}="
            f"{experiment.compute.train.cache_gigabytes:g}: choose another value, or {whole}"
        )
    num_lanes = images_per_step(experiment, network)
    least = least_buffer(largest, num_lanes)
    if (cache_bytes(experiment) or 0) >= least:
        return None
    return (
        f"{network}: {KEY}={experiment.compute.train.cache_gigabytes:g} is too small: each of the "
        f"{num_lanes} images of a step needs room for two row groups, of up to "
        f"{largest / 1e6:,.2f} MB each. Set it to {round_up(min(least, num_bytes)):g} at least"
    )


def buffered_set(plan: Plan) -> BufferedSet | None:
    """Open the set of a training that reads its rows through a buffer; None: it does not.

    Raises:
        ValueError: this node's disk has no room for the buffer.
    """
    if plan.buffer_bytes is None:
        return None
    folder = tempfile.gettempdir()
    require_room(folder, plan.buffer_bytes)
    return BufferedSet(
        plan.rows,
        plan.found.groups,
        plan.class_names,
        buffer_bytes=plan.buffer_bytes,
        folder=folder,
    )


def save_whole(plan: Plan, path: Path) -> None:
    """Write all rows of a training into an Arrow file; errors as in `require_room`."""
    require_room(str(path.parent), plan.found.num_bytes)
    save_rows(plan.rows, path)


def check_order(began: int | None, now: int | None) -> None:
    """Check that a training goes on in the order of images that it began with.

    Args:
        began: Size of the buffer, in bytes, that its checkpoint names; None: there was none.
        now: The same of today.

    Raises:
        ValueError: they differ.
    """
    if began != now:
        was = "null, or to more than the images take" if began is None else f"{began / 1e9:g}"
        raise ValueError(
            f"the order of its images depends on {KEY}: set it to {was}, as it was when the "
            "training began"
        )


def require_room(folder: str, num_bytes: int) -> None:
    """Check that a disk has room for what a training will hold there.

    Raises:
        ValueError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ValueError(
            f"a training holds about {in_gigabytes(num_bytes)} of images in {folder}, "
            f"{in_gigabytes(free)} are free there: make room, start Ray with another TMPDIR, or "
            f"set {KEY} to what it may hold"
        )


def in_gigabytes(num_bytes: int) -> str:
    """Write a number of bytes for people."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"


def round_up(num_bytes: int) -> float:
    """Return gigabytes that are not less, with few digits."""
    return math.ceil(num_bytes / 1e3) / 1e6
