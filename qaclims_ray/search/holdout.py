"""Two splits of the images with ground truth: one to select by, one to report.

Nothing is selected by the images whose scores are reported. In files the splits keep the names
`choosing` and `held_out`.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.scored import names_to_score
from qaclims_ray.storage.files import read_bytes, write_bytes

SELECTION, REPORT = "choosing.txt", "held_out.txt"


class Split(NamedTuple):
    """Names of images with ground truth, sorted."""

    selection: list[str]
    """Images that trials, thresholds and the winner are selected by."""
    report: list[str]
    """Images that are held out, whose scores are reported."""


def split_names(names: Sequence[str], share: float, seed: int) -> Split:
    """Split names of images; about `share` of them are held out.

    On which side a name falls depends on the name and `seed` alone, whatever other names there are.

    Raises:
        ValueError: one of both splits would be empty.
    """
    report = sorted(name for name in names if _fraction(name, seed) < share)
    selection = sorted(set(names).difference(report))
    if not report or not selection:
        raise ValueError(
            f"tune.holdout: {share} of {len(names)} images with ground truth leaves "
            f"{len(selection)} to select by and {len(report)} to report: score more images"
        )
    return Split(selection, report)


def write_names(experiment: Experiment, folder: str) -> Split:
    """Split the images that have ground truth, and write both lists into a folder.

    Raises:
        ValueError: there is no ground truth, or too little.
    """
    tune = experiment.tune
    split = split_names(names_to_score(experiment), tune.holdout, tune.seed)
    for file, names in zip((SELECTION, REPORT), split, strict=True):
        write_bytes(f"{folder}/{file}", "".join(f"{name}\n" for name in names).encode())
    return split


def limited(split: Split, num_images: int | None, seed: int) -> Split:
    """Draw at most `num_images` names of either split; None keeps all."""
    if num_images is None:
        return split
    draw = random.Random(seed)
    return Split(*(sorted(draw.sample(names, min(num_images, len(names)))) for names in split))


def read_names(uri: str) -> list[str]:
    """Read the names in a list that `write_names` wrote."""
    return read_bytes(uri).decode().splitlines()


def _fraction(name: str, seed: int) -> float:
    """Hash a name to a number in [0, 1), as if it were drawn uniformly."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
