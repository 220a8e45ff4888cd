"""The images whose labels are known: what can be learnt from and what CAMs are made of."""

import json
import logging
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any

import pyarrow.dataset as pads

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.tables import dataset, read_errors, read_table
from qaclims_ray.storage.files import list_files, read_bytes

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


def identity_without_masks(images: Artifact, names: Sequence[str]) -> str:
    """Digest names, pixels and labels of all images and the class names: all but ground truth."""
    digest = sha256(json.dumps(list(names)).encode())
    columns = ["name", "image", "labels"]
    for batch in dataset(images).to_batches(columns=columns, batch_size=_BATCH):
        for row in batch.to_pylist():
            image = sha256(row["image"]).hexdigest()
            digest.update(json.dumps([row["name"], image, row["labels"]]).encode())
    return digest.hexdigest()[:32]


_SHOWN = 5
_BATCH = 256


def names_to_score(
    experiment: Experiment, *, of_cams: bool = True, images_name: str = "images"
) -> list[str]:
    """Names of the images that have ground truth: all of them, or those listed (`evaluate.names`).

    An image that could not be read is none of them: see `num_unreadable`.

    Args:
        experiment: The run.
        of_cams: Leave out images whose labels nobody knows, of which there are no CAMs.
        images_name: Artifact of the images; `evaluate.names` lists some of `images` alone.

    Raises:
        ValueError: there is none, or it shows no class in any image; the list names images that
            the run lacks, or that can't be scored.
    """
    images = artifact(experiment, images_name)
    masks: dict[str, Any] = images.require()["facts"].get("masks") or {}
    if masks and not any(masks["shown"].values()):
        raise ValueError(
            f"{images.uri}: no mask shows any class ({masks['ignored']:.1%} of all pixels are "
            "ignored, the others background), so every score would say nothing. A mask holds class "
            "index + 1; mend the masks and ingest anew (qaclims ingest --overwrite)"
        )
    has_truth = pads.field("mask").is_valid()
    wanted = has_truth & KNOWN if of_cams else has_truth
    masked = dataset(images).to_table(columns=["name"], filter=wanted)
    names: list[str] = masked["name"].to_pylist()
    which = " of images with known labels" if of_cams else ""
    if experiment.evaluate.names is not None and images_name == "images":
        listed = _listed(experiment.evaluate.names) - _unreadable(images)
        everything = read_table(images, ["name"])["name"].to_pylist()
        check_there(listed, everything, f"{images.uri} lacks images", "mend evaluate.names")
        lacks = f"{images.uri} lacks ground truth{which}"
        check_there(listed, names, lacks, "take them off the list evaluate.names")
        names = sorted(listed)
    if not names:
        raise ValueError(
            f"{images.uri} holds no ground truth{which}, so there is nothing to score with"
        )
    return names


def num_unreadable(experiment: Experiment, images_name: str = "images") -> int:
    """Images, of the listed ones if there is a list, that could not be read: no score has them."""
    unreadable = _unreadable(artifact(experiment, images_name))
    if experiment.evaluate.names is not None and images_name == "images":
        unreadable &= _listed(experiment.evaluate.names)
    return len(unreadable)


def names_in(folder: str) -> set[str]:
    """Names of the PNG files in a folder or at a URL, folders below it included."""
    return {file.removesuffix(".png") for file in list_files(folder) if file.endswith(".png")}


def check_there(wanted: Collection[str], there: Collection[str], what: str, remedy: str) -> None:
    """Refuse to go on where a wanted name is missing.

    Raises:
        ValueError: `what`, how many, the first of them, and the `remedy`.
    """
    missing = sorted(set(wanted).difference(there))
    if missing:
        shown = ", ".join(map(repr, missing[:_SHOWN]))
        raise ValueError(f"{what}: {len(missing)} of {len(wanted)}, such as {shown}: {remedy}")


def _unreadable(images: Artifact) -> set[str]:
    return set(read_errors(images)["name"].to_pylist())


def _listed(uri: str) -> set[str]:
    """Names in a list, one a line."""
    try:
        lines = read_bytes(uri).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ValueError(f"evaluate.names: there is no file {uri!r}") from None
    return {name for line in lines if (name := line.strip())}


def decided_share(label_maps: Artifact) -> float:
    """Return the share of the pixels that the label maps of an artifact decide, in [0, 1]."""
    columns = read_table(label_maps, ["height", "width", "decided"]).to_pydict()
    sizes = [h * w for h, w in zip(columns["height"], columns["width"], strict=True)]
    known = [
        (size, own) for size, own in zip(sizes, columns["decided"], strict=True) if own is not None
    ]
    return sum(size * own for size, own in known) / max(1, sum(size for size, _ in known))
