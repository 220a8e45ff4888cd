"""Which images are scored, and whether everything that is needed for them is there."""

from collections.abc import Collection

import pyarrow.dataset as pads

from qaclims_ray.artifacts import artifact
from qaclims_ray.config import Experiment
from qaclims_ray.data.files import walk
from qaclims_ray.data.labelled import KNOWN
from qaclims_ray.storage import read_bytes
from qaclims_ray.tables import dataset, read_table

_SHOWN = 5


def names_to_score(experiment: Experiment, *, of_cams: bool = True) -> list[str]:
    """Names of the images that have ground truth and, with `evaluate.names`, are on that list.

    Args:
        experiment: The run.
        of_cams: Leave out images whose labels nobody knows, of which there are no CAMs.

    Raises:
        ValueError: there is none; the list names images that the run lacks.
    """
    images = artifact(experiment, "images")
    images.require()
    has_truth = pads.field("mask").is_valid()
    wanted = has_truth & KNOWN if of_cams else has_truth
    masked = dataset(images).to_table(columns=["name"], filter=wanted)
    names: list[str] = masked["name"].to_pylist()
    if experiment.evaluate.names is not None:
        listed = _listed(experiment.evaluate.names)
        everything = read_table(images, ["name"])["name"].to_pylist()
        check_there(listed, everything, f"{images.uri} lacks images", "mend evaluate.names")
        names = sorted(listed.intersection(names))
    if not names:
        which = " of images with known labels" if of_cams else ""
        raise ValueError(
            f"{images.uri} holds no ground truth{which}, so there is nothing to score with"
        )
    return names


def names_in(folder: str) -> set[str]:
    """Names of the PNG files in a folder or at a URL, folders below it included."""
    return {file.removesuffix(".png") for file in walk(folder) if file.endswith(".png")}


def check_there(wanted: Collection[str], there: Collection[str], what: str, remedy: str) -> None:
    """Refuse to go on where a wanted name is missing.

    Raises:
        ValueError: `what`, how many, the first of them, and the `remedy`.
    """
    missing = sorted(set(wanted).difference(there))
    if missing:
        shown = ", ".join(map(repr, missing[:_SHOWN]))
        raise ValueError(f"{what}: {len(missing)} of {len(wanted)}, such as {shown}: {remedy}")


def _listed(uri: str) -> set[str]:
    """Names in a list, one a line."""
    try:
        lines = read_bytes(uri).decode().splitlines()
    except FileNotFoundError:
        raise ValueError(f"evaluate.names: there is no file {uri!r}") from None
    return {name for line in lines if (name := line.strip())}
