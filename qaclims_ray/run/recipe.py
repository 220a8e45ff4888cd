"""The recipe of an artifact: the part of a configuration that decides its content.

Ground truth is used by scores, and by networks whose weights it chooses. All else is the same with
other masks, or with masks that came later, and is kept.
"""

from operator import attrgetter

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree, flatten
from qaclims_ray.run.graph import ARTIFACTS, images_of, inputs_of
from qaclims_ray.run.spec import NETWORK_CAMS, WORKERS

_CHOICE = (*NETWORK_CAMS, "evaluate.thresholds", "evaluate.names", "evaluate.absent_classes")
"""Keys of the scores by which the best weights of a training are chosen."""
_WITHOUT_EFFECT = {
    *(
        f"{data}.{key}"
        for data in ("data", "new_images")
        for key in ("max_errors", "max_missing", "shard_megabytes")
    ),
    # How an engine is fed and reached, not what it says.
    *(f"corpus.engine.{key}" for key in ("token_budget", "batch_size", "num_connections")),
    *(f"corpus.engine.{key}" for key in ("url", "timeout", "key_variable")),
}

_SECTIONS = {"images": "data", "new_images": "new_images"}
"""Section of the configuration of each artifact of images."""
_OF_MASKS = ("masks", "crowds", "overlap", "corrections")
_KEYS = {f"{one}.{key}" for one in _SECTIONS.values() for key in _OF_MASKS}
"""Keys that decide the masks of images and nothing else of them."""


def chosen_by_masks(experiment: Experiment, name: str) -> dict[str, str]:
    """Return the networks behind an artifact whose weights ground truth masks choose.

    With them (`keep: best`) nothing that follows is weakly supervised.

    Returns:
        The section of the configuration that says so, by the name of the network.
    """
    own = {name: fit} if (fit := _best_of(experiment, name)) else {}
    before = (chosen_by_masks(experiment, one) for one in inputs_of(experiment, name))
    return {network: fit for found in (*before, own) for network, fit in found.items()}


def _best_of(experiment: Experiment, name: str) -> str | None:
    """Return the section that trains a network, if its best score chooses the weights."""
    fit = ARTIFACTS[name].fit
    return fit if fit is not None and attrgetter(f"{fit}.keep")(experiment) == "best" else None


def sections_of(experiment: Experiment, name: str) -> set[str]:
    """Return the keys and sections of the configuration that decide an artifact's content."""
    spec = ARTIFACTS[name]
    inherited = [sections_of(experiment, one) for one in inputs_of(experiment, name)]
    choice = _CHOICE if _best_of(experiment, name) else ()
    return {*spec.keys, *choice}.difference(spec.unused(experiment)).union(*inherited)


def recipe(experiment: Experiment, name: str) -> Tree:
    """Return the dotted keys and values that decide an artifact's content."""
    sections = sections_of(experiment, name)
    return {
        # No worker but this process is one worker.
        key: max(1, value) if key == WORKERS else value
        for key, value in flatten(experiment.plain())
        if key not in _WITHOUT_EFFECT
        and any(key == section or key.startswith(f"{section}.") for section in sections)
    }


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
