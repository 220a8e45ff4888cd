"""Which images choose and which are reported, so that nothing is tuned on what is reported."""

import hashlib
from collections.abc import Sequence

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.images import names_to_score
from qaclims_ray.storage.files import read_bytes, write_bytes

CHOOSING = "choosing.txt"
HELD_OUT = "held_out.txt"
Split = tuple[list[str], list[str]]
"""Names of the images that choose, and of those held out."""


def split_names(names: Sequence[str], share: float, seed: int) -> Split:
    """Names of the images that choose, and of those held out, in their order.

    A name's place depends on the name and `seed` alone: more images move no other. About `share`
    of the names are held out.

    Raises:
        ValueError: one of both would be empty.
    """
    held_out = [name for name in names if _fraction(name, seed) < share]
    choosing = sorted(set(names).difference(held_out))
    if not held_out or not choosing:
        raise ValueError(
            f"tune.holdout: {share} of {len(names)} images with ground truth leaves "
            f"{len(choosing)} to choose by and {len(held_out)} to report: score more images"
        )
    return choosing, sorted(held_out)


def write_names(experiment: Experiment, folder: str) -> Split:
    """Split the images that have ground truth, and write both lists into a folder.

    Raises:
        ValueError: there is no ground truth, or too little.
    """
    tune = experiment.tune
    split = split_names(names_to_score(experiment), tune.holdout, tune.seed)
    for file, names in zip((CHOOSING, HELD_OUT), split, strict=True):
        write_bytes(f"{folder}/{file}", "".join(f"{name}\n" for name in names).encode())
    return split


def read_names(uri: str) -> list[str]:
    """The names in a list that `write_names` wrote."""
    return read_bytes(uri).decode().splitlines()


def _fraction(name: str, seed: int) -> float:
    """A number in [0, 1) that looks drawn."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
