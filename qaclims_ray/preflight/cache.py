"""What trainings hold of their images on each node, and whether they can read the rest ahead."""

import tempfile
from collections.abc import Iterable

import numpy as np

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import of_kind
from qaclims_ray.train.cache import (
    buffered_note,
    cache_bytes,
    cache_problem,
    in_gigabytes,
    is_buffered,
)
from qaclims_ray.train.groups import image_bytes

_WORTH_SAYING = 10**7
"""Bytes that a copy takes on each node."""


class TrainingImages:
    """The images that trainings will hold on nodes, as far as they are known.

    Label maps and CAMs that some trainings add are not: the trainings look again.
    """

    def __init__(self, experiment: Experiment, names: Iterable[str]) -> None:
        """Look at `images`, where it is complete and one of the artifacts `names` is a network."""
        self._experiment = experiment
        self.trainings = [name for name in of_kind("network") if name in set(names)]
        images = artifact(experiment, "images")
        is_known = bool(self.trainings) and images.manifest() is not None
        sizes = image_bytes(images) if is_known else np.zeros(0, np.int64)
        self._largest, self._num_bytes = int(sizes.max(initial=0)), int(sizes.sum())
        self._is_buffered = is_buffered(experiment, self._num_bytes)
        self.held_bytes = self._num_bytes
        """What a training holds of them on a node."""
        if self._is_buffered:
            self.held_bytes = cache_bytes(experiment) or 0

    def problems(self) -> list[str]:
        """Return why trainings cannot read images through the cache, one sentence each."""
        if not self._is_buffered:
            return []
        both = self._num_bytes, self._largest
        found = [cache_problem(self._experiment, name, *both) for name in self.trainings]
        return [problem for problem in found if problem is not None]

    def notes(self) -> list[str]:
        """Say for people how much trainings hold, and where."""
        if not self._is_buffered and self._num_bytes < _WORTH_SAYING:
            return []
        names, folder = ", ".join(self.trainings), tempfile.gettempdir()
        if self._is_buffered:
            told = buffered_note(self._experiment, self._num_bytes)
            return [f"{names}: in {folder} of each node; {told}"]
        return [
            f"{names}: about {in_gigabytes(self._num_bytes)} of images are copied into {folder} of "
            "each node"
        ]
