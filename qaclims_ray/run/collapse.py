"""Signs of a training that collapsed: maps that are 0 everywhere, for which all looks well."""

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact, command, job_of
from qaclims_ray.run.graph import ARTIFACTS, inputs_of, is_needed
from qaclims_ray.run.manifest import Facts

_MANY = 0.1
"""Share of empty maps that is worth a warning; images of rare classes have a few."""
_REMEDIES = {
    "cam_net": "Lower train.ritc.loss.area, which draws all maps to 0, or "
    "train.ritc.optimiser.learning_rate",
    "classifier": "Lower train.classifier.optimiser.learning_rate, or raise "
    "train.classifier.epochs",
}


def dead_maps(network: str) -> str:
    """Say that the maps of a CAM network are dead, and what to change."""
    return (
        f"{network}: its maps have died: no logit of its last steps is above 0, so that its CAMs "
        f"are empty. {_REMEDIES[network]}, and train anew ({job_of(network)} --overwrite)"
    )


def empty_maps(experiment: Experiment, cams: str, facts: Facts) -> str | None:
    """Say that many maps of an artifact of CAMs are empty, and what to change; None: few are."""
    num_maps, num_empty = facts.get("num_maps", 0), facts.get("num_empty_maps", 0)
    if num_empty <= _MANY * num_maps:
        return None
    return (
        f"{cams}: {num_empty:,} of {num_maps:,} maps are empty, 0 everywhere: their classes are "
        f"found nowhere, whatever the threshold. {_remedy(experiment, cams)}"
    )


def flat_scores(experiment: Experiment, scores: str) -> str:
    """Say that scores of CAMs, maybe of such as are on no disk, are those of empty maps."""
    cams = ARTIFACTS[scores].of
    assert cams is not None
    return (
        f"{scores}: the same at each threshold, as of {cams} that are 0 everywhere. "
        f"{_remedy(experiment, cams)}"
    )


def _remedy(experiment: Experiment, cams: str) -> str:
    network = ARTIFACTS[cams].of
    if network is None or network not in inputs_of(experiment, cams):
        return f"See whether CLIP tells classes from backgrounds: {command('check-texts')}"
    return f"{_REMEDIES[network]}, and train anew ({job_of(network)} --overwrite)"


def collapses(experiment: Experiment) -> list[str]:
    """Say what has collapsed in a run."""
    said: list[str | None] = []
    for name in (name for name in ARTIFACTS if is_needed(experiment, name)):
        manifest = artifact(experiment, name).manifest()
        facts = Facts() if manifest is None else manifest["facts"]
        is_dead = facts.get("dead_maps", False)
        said.append(dead_maps(name) if is_dead else empty_maps(experiment, name, facts))
        said.append(flat_scores(experiment, name) if facts.get("flat_scores") else None)
    return [one for one in said if one is not None]
