"""The images whose labels are known: what can be learnt from and what CAMs are made of."""

import json
import logging
from collections.abc import Iterable, Sequence
from hashlib import sha256

import pyarrow.dataset as pads

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.sorted_index import RunTasks, run_here
from qaclims_ray.run.tables import batches_of, dataset, read_errors
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.storage.parquet import open_parquet

log = logging.getLogger(__name__)

NO_TRUTH = "none, as no image has ground truth"
"""Why a run has no scores."""
KNOWN = pads.field("labels").is_valid()
"""True for rows of `images` whose labels are known; an image without any class is one of them."""


def labelled(images: Artifact) -> pads.Dataset:
    """The rows of a complete artifact `images` whose labels are known; others are counted.

    Raises:
        ValueError: there is none.
    """
    rows = dataset(images)
    num_rows, num_known = rows.count_rows(), rows.count_rows(filter=KNOWN)
    if not num_known:
        raise ValueError(
            f"{images.uri}: no image is labelled: give the images labels (data.unlabelled: true "
            "takes them without, which is enough for the corpus only)"
        )
    if num_known < num_rows:
        log.warning("%d of %d images have no labels: left out", num_rows - num_known, num_rows)
    return rows.filter(KNOWN)


def check_class_names(images: Artifact, network: Artifact) -> None:
    """Check that a network was trained for the classes of these images, in their order.

    Images that have no classes of their own are fit for any network.

    Raises:
        ValueError: it was trained for others; both lists are shown.
    """
    here, there = class_names(images), tuple(network.fact("class_names"))
    if here and here != there:
        raise ValueError(
            f"{network.uri} was trained for the classes {', '.join(there)}, and {images.uri} has "
            f"{', '.join(here)}: its numbers would mean other classes"
        )


def class_names(images: Artifact) -> tuple[str, ...]:
    """The class names of a complete artifact `images`, in the order of their indices."""
    return tuple(images.fact("class_names"))


def identity_without_masks(
    images: Artifact, names: Sequence[str], run_tasks: RunTasks = run_here
) -> str:
    """Digest names, pixels and labels of all images and the class names: all but ground truth.

    Args:
        images: The images.
        names: Of the classes.
        run_tasks: Carries out the reading, shard by shard; threads do by themselves.
    """
    digest = sha256(json.dumps(list(names)).encode())
    shards = images.shards()
    for start in range(0, len(shards), _SHARDS):
        calls = [(shard,) for shard in shards[start : start + _SHARDS]]
        for content in run_tasks(_content_of, calls, "identity"):
            digest.update(content)
    return digest.hexdigest()[:32]


def _content_of(shard: str) -> bytes:
    """Return name, digest of the pixels and labels of each image of a shard."""
    read = open_parquet([shard], schema_of("images"))
    return b"".join(
        json.dumps([row["name"], sha256(row["image"]).hexdigest(), row["labels"]]).encode()
        for batch in read.to_batches(columns=["name", "image", "labels"], batch_size=_BATCH)
        for row in batch.to_pylist()
    )


_SHOWN = 5
_BATCH = 64
"""Images of a shard that are in memory at a time, some batches ahead."""
_SHARDS = 64
"""Shards whose names, digests and labels are in memory at a time."""


def num_unreadable(experiment: Experiment, images_name: str = "images") -> int:
    """Images, of the listed ones if there is a list, that could not be read: no score has them."""
    failed = unreadable(artifact(experiment, images_name))
    if experiment.evaluate.names is not None and images_name == "images":
        failed &= listed_names(experiment.evaluate.names)
    return len(failed)


def check_sorted(wanted: Iterable[str], there: Iterable[str], what: str, remedy: str) -> None:
    """Refuse to go on where a wanted name is missing.

    Args:
        wanted: Names, sorted.
        there: Names, sorted.
        what: What a missing one means.
        remedy: What to do about it.

    Raises:
        ValueError: `what`, how many are missing, the first of them, and the `remedy`.
    """
    found, num_wanted, num_missing, first = iter(there), 0, 0, list[str]()
    last = next(found, None)
    for name in wanted:
        num_wanted += 1
        while last is not None and last < name:
            last = next(found, None)
        if last != name:
            num_missing += 1
            first = first if len(first) == _SHOWN else [*first, name]
    if num_missing:
        shown = ", ".join(map(repr, first))
        raise ValueError(f"{what}: {num_missing} of {num_wanted}, such as {shown}: {remedy}")


def unreadable(images: Artifact) -> set[str]:
    """Names of the images that could not be read."""
    return set(read_errors(images)["name"].to_pylist())


def listed_names(uri: str) -> set[str]:
    """Names in a list, one a line."""
    try:
        lines = read_bytes(uri).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ValueError(f"evaluate.names: there is no file {uri!r}") from None
    return {name for line in lines if (name := line.strip())}


def decided_share(label_maps: Artifact) -> float:
    """Return the share of the pixels that the label maps of an artifact decide, in [0, 1]."""
    known = all_pixels = 0
    for batch in batches_of(label_maps, ["height", "width", "decided"]):
        for height, width, own in zip(*(column.to_pylist() for column in batch), strict=True):
            if own is not None:
                known += height * width * own
                all_pixels += height * width
    return known / max(1, all_pixels)
