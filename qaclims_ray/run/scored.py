"""Which images are scored: found by walking over names in their order, never by a list of all."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.dataset as pads

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import KNOWN, check_sorted, listed_names, unreadable
from qaclims_ray.run.tables import NameIndex, names_of

_HAS_TRUTH = pads.field("mask").is_valid()


@dataclass(frozen=True)
class Scored:
    """Images that have ground truth: all of them, or those listed (`evaluate.names`)."""

    images: Artifact
    of_cams: bool
    """Leave out images whose labels nobody knows, of which there are no CAMs."""
    listed: frozenset[str] | None
    num: int

    def has(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row of `images`, with name, labels and mask, is one of them."""
        if row["mask"] is None or (self.of_cams and row["labels"] is None):
            return False
        return self.listed is None or row["name"] in self.listed

    def names(self) -> Iterator[str]:
        """Their names, sorted."""
        if self.listed is not None:
            return iter(sorted(self.listed))
        return names_of(self.images, _truth(self.of_cams))

    def names_at(self, positions: Collection[int]) -> list[str]:
        """The names at some positions in the order of all; the others are walked past."""
        wanted = frozenset(positions)
        return [name for position, name in enumerate(self.names()) if position in wanted]


class Masks:
    """Looks up the ground truth of the images that are scored."""

    def __init__(self, scored: Scored) -> None:
        self._scored = scored
        self._index = NameIndex(scored.images)

    def of(self, names: Collection[str]) -> dict[str, bytes]:
        """Encoded masks by the names of those images that are scored."""
        listed = self._scored.listed
        asked = names if listed is None else listed.intersection(names)
        rows = self._index.look_up(asked, ["name", "labels", "mask"]).to_pylist()
        return {row["name"]: row["mask"] for row in rows if self._scored.has(row)}


def scored_images(
    experiment: Experiment, *, of_cams: bool = True, images_name: str = "images"
) -> Scored:
    """Find out which images are scored.

    An image that could not be read is none of them: see `images.num_unreadable`.

    Args:
        experiment: The run.
        of_cams: See `Scored`.
        images_name: Artifact of the images; `evaluate.names` lists some of `images` alone.

    Raises:
        ValueError: there is none, or it shows no class in any image; the list names images that
            the run lacks, or that can't be scored.
    """
    images = artifact(experiment, images_name)
    _check_shown(images)
    which = " of images with known labels" if of_cams else ""
    if experiment.evaluate.names is not None and images_name == "images":
        listed = frozenset(listed_names(experiment.evaluate.names) - unreadable(images))
        wanted, lacks = sorted(listed), f"{images.uri} lacks ground truth{which}"
        check_sorted(wanted, names_of(images), f"{images.uri} lacks images", "mend evaluate.names")
        remedy = "take them off the list evaluate.names"
        check_sorted(wanted, names_of(images, _truth(of_cams)), lacks, remedy)
        found = Scored(images, of_cams, listed, len(listed))
    else:
        num = sum(1 for _ in names_of(images, _truth(of_cams)))
        found = Scored(images, of_cams, None, num)
    if not found.num:
        raise ValueError(
            f"{images.uri} holds no ground truth{which}, so there is nothing to score with"
        )
    return found


def _truth(of_cams: bool) -> pads.Expression:
    return _HAS_TRUTH & KNOWN if of_cams else _HAS_TRUTH


def _check_shown(images: Artifact) -> None:
    masks: dict[str, Any] = images.require()["facts"].get("masks") or {}
    if masks and not any(masks["shown"].values()):
        raise ValueError(
            f"{images.uri}: no mask shows any class ({masks['ignored']:.1%} of all pixels are "
            "ignored, the others background), so every score would say nothing. A mask holds class "
            "index + 1; mend the masks and ingest anew (qaclims ingest --overwrite)"
        )
