"""What a row of the table of artifacts says, and what rows ask of a configuration."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from qaclims_ray.config.experiment import Experiment

Kind = Literal["images", "corpus", "pairs", "texts", "network", "cams", "label_maps", "scores"]
"""What an artifact holds: a network's files, or a table with the schema of that name."""

WORKERS = "compute.train.num_workers"
"""The one key of `compute` that changes a result, as it makes the global batch; beside
`compute.train.cache_gigabytes`, where images are more than that."""
NETWORK_CAMS = ("cams.scales", "cams.activation", "cams.resize", "cams.resolution")
CLIP_CAMS = ("cams.kind", "cams.backgrounds", "cams.clip")


class Spec(NamedTuple):
    """One artifact of a run."""

    name: str
    kind: Kind
    stage: str
    """Module of the package whose `run(experiment, name)` makes it."""
    job: str
    """Sub-command of `qaclims`, and flags, that make it."""
    inputs: tuple[str, ...]
    """Artifacts that it is made from."""
    keys: tuple[str, ...]
    """Keys of the configuration that decide its content, beside those that decide its inputs."""
    title: str
    """Name in reports."""
    pool: str | None = None
    """Section of `compute` with the actors that make it; None: one process, or Ray Train."""
    of: str | None = None
    """Network that CAMs are of, or artifact that scores are of."""
    fit: str | None = None
    """Section of the configuration that says how a network is trained."""
    supervision: str | None = None
    """What was used to make label maps of an image, beside the networks; None: nothing."""
    needless: Callable[[Experiment], bool] | None = None
    """Whether a configuration does without it; None: none does."""
    unused: Callable[[Experiment], tuple[str, ...]] = lambda _: ()
    """Inputs and keys that a configuration makes no use of."""
    spares: str = ""
    """What making it anew does not do again, for messages."""


def by_clip(experiment: Experiment) -> bool:
    """Return whether a frozen CLIP makes the CAMs."""
    return experiment.cams.kind == "clip"


def learns_clip_cams(experiment: Experiment) -> bool:
    """Return whether RITC has CAMs of a frozen CLIP as targets."""
    return experiment.train.ritc.loss.clip_cams > 0 and not by_clip(experiment)


def without_pairs(experiment: Experiment) -> bool:
    """Return whether CLIP sees class names and fixed background words alone, as in CLIP-ES."""
    backgrounds, texts = experiment.cams.backgrounds, experiment.corpus.texts
    asked = backgrounds in ("answers", "both") and texts.backgrounds == "answers"
    return by_clip(experiment) and not asked and texts.foreground == "class_name"


def unused_by_texts(experiment: Experiment) -> tuple[str, ...]:
    """Return the inputs that the texts of the CLIP that makes CAMs are not taken from."""
    return ("pairs",) if without_pairs(experiment) else ("images",)


def unused_by_cams(experiment: Experiment) -> tuple[str, ...]:
    """Return the inputs and keys that CAMs of this kind make no use of."""
    if not by_clip(experiment):
        return ("pairs", "cam_texts", *CLIP_CAMS)
    unused = ("cam_net", "cams.scales", "cams.activation", "cams.resize")
    return (*unused, "pairs") if without_pairs(experiment) else unused


def has_no_new_images(experiment: Experiment) -> bool:
    """Return whether no second data set is to be predicted."""
    return experiment.new_images is None
