"""What makes use of ground truth: scores, and networks whose weights it chooses.

All else is the same with other masks, or with masks that came later, and is kept.
"""

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.run.graph import ARTIFACTS, images_of
from qaclims_ray.run.recipe import chosen_by_masks

_SECTIONS = {"images": "data", "new_images": "new_images"}
"""Section of the configuration of each artifact of images."""
_OF_MASKS = ("masks", "crowds", "overlap", "corrections")
_KEYS = {f"{one}.{key}" for one in _SECTIONS.values() for key in _OF_MASKS}
"""Keys that decide the masks of images and nothing else of them."""


def sees_masks(experiment: Experiment, name: str) -> bool:
    """Return whether an artifact is made with the masks of its images."""
    return ARTIFACTS[name].kind == "scores" or name in chosen_by_masks(experiment, name)


def without_masks(experiment: Experiment, name: str, recipe: Tree) -> Tree:
    """Return an artifact's recipe, without keys of masks where it makes no use of any."""
    about = {_SECTIONS[images_of(name)]} if ARTIFACTS[name].kind in ("images", "scores") else set()
    sections = about | {"data"} if chosen_by_masks(experiment, name) else about
    needless = {key for key in _KEYS if key.partition(".")[0] not in sections}
    return {key: one for key, one in recipe.items() if key not in needless}


def comparable(before: Tree, now: Tree) -> Tree:
    """Return a recipe of before without the keys of masks that the one of now does without."""
    return {key: one for key, one in before.items() if key in now or key not in _KEYS}
