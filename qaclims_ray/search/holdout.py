"""Two splits of the images with ground truth: one to select by, one to report.

Nothing is selected by the images whose scores are reported. In files the splits keep the names
`choosing` and `held_out`.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.name_list import NameList, write_lists
from qaclims_ray.run.scored import scored_images

SELECTION, REPORT = "choosing.txt", "held_out.txt"


Names: TypeAlias = NameList | list[str]
"""Sorted; in a file unless they are few."""


class Split(NamedTuple):
    """Names of images with ground truth."""

    selection: Names
    """Images that trials, thresholds and the winner are selected by."""
    report: Names
    """Images that are held out, whose scores are reported."""


def write_names(experiment: Experiment, folder: str) -> Split:
    """Split the images that have ground truth, and write both lists into a folder.

    About `tune.holdout` of them are held out. On which side a name falls depends on the name and
    `tune.seed` alone, whatever other names there are.

    Raises:
        ValueError: there is no ground truth, or one of both splits would be empty.
    """
    tune, scored = experiment.tune, scored_images(experiment)
    uris = [f"{folder}/{file}" for file in (SELECTION, REPORT)]
    return Split(*write_lists(uris, split_names(scored.names(), tune.holdout, tune.seed)))


def split_names(names: Iterable[str], share: float, seed: int) -> Iterator[tuple[int, str]]:
    """Yield each name with the place of its split in `Split`; about `share` are held out.

    Raises:
        ValueError: all names have come, and one of both splits is empty.
    """
    nums = [0, 0]
    for name in names:
        place = int(_fraction(name, seed) < share)
        nums[place] += 1
        yield place, name
    if not all(nums):
        raise ValueError(
            f"tune.holdout: {share} of {sum(nums)} images with ground truth leaves "
            f"{nums[0]} to select by and {nums[1]} to report: score more images"
        )


def limited(split: Split, num_images: int | None, seed: int) -> Split:
    """Draw at most `num_images` names of either split; None keeps all."""
    if num_images is None:
        return split
    rng = random.Random(seed)
    return Split(*(_drawn(names, num_images, rng) for names in split))


def _drawn(names: Names, num_images: int, rng: random.Random) -> list[str]:
    positions = set(rng.sample(range(len(names)), min(num_images, len(names))))
    return [name for position, name in enumerate(names) if position in positions]


def _fraction(name: str, seed: int) -> float:
    """Hash a name to a number in [0, 1), as if it were drawn uniformly."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
