"""What the artifacts of a run were made from, compared with what is there now.

Through all inputs: what is made from a stale artifact would be wrong and look right. Identities are
those of content (see `Manifest.identity`), so that what was made anew and came out equal makes
nothing stale.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import WORK, Artifact, artifact, command, job_of, remake
from qaclims_ray.run.contents import check_sizes
from qaclims_ray.run.graph import (
    ARTIFACTS,
    images_of,
    inputs_of,
    is_needed,
    of_kind,
)
from qaclims_ray.run.manifest import Manifest
from qaclims_ray.run.recipe import sees_masks
from qaclims_ray.storage.listing import find


class Found(NamedTuple):
    """A complete artifact."""

    artifact: Artifact
    manifest: Manifest


def used_inputs(experiment: Experiment, name: str) -> tuple[str, ...]:
    """Return the artifacts that an artifact is made from; streamed scores need no CAMs on disk."""
    streams = experiment.evaluate.stream and ARTIFACTS[name].kind == "scores"
    needless = of_kind("cams") if streams else ()
    return tuple(one for one in inputs_of(experiment, name) if one not in needless)


def ancestors(experiment: Experiment, name: str) -> list[str]:
    """Return all that an artifact is made from, directly or not, in the order of the pipeline."""
    direct = used_inputs(experiment, name)
    behind = {*direct, *(one for each in direct for one in ancestors(experiment, each))}
    return [one for one in ARTIFACTS if one in behind]


def identities(experiment: Experiment, name: str) -> dict[str, str]:
    """Return the identities of an artifact's complete inputs, for its manifest."""
    needed = used_inputs(experiment, name)
    return {
        one: _identities(experiment, name, found.manifest)[-1]
        for one, found in _complete(experiment, needed).items()
    }


def _identities(experiment: Experiment, user: str, used: Manifest) -> list[str]:
    """Return the identities by which an artifact may know another, the one to note last."""
    sees = sees_masks(experiment, user)
    without = None if sees else used["facts"].get("identity_without_masks")
    return [used["identity"], *([without] if without else [])]


def _complete(experiment: Experiment, names: Collection[str]) -> dict[str, Found]:
    found = ((name, artifact(experiment, name)) for name in names)
    marked = ((name, target, target.manifest()) for name, target in found)
    return {name: Found(target, manifest) for name, target, manifest in marked if manifest}


def made_anew(experiment: Experiment, name: str, complete: Mapping[str, Found]) -> list[str]:
    """Return the inputs of a complete artifact that other content has replaced since."""
    before = complete[name].manifest["inputs"]
    return [
        one
        for one in used_inputs(experiment, name)
        if one in complete
        and one in before
        and before[one] not in _identities(experiment, name, complete[one].manifest)
    ]


def check_lineage(experiment: Experiment, *names: str, anew: Collection[str] = ()) -> None:
    """Check that artifacts, and all that they are made from, are made from what is there now.

    Args:
        experiment: The run.
        names: Of the artifacts, complete or not, in the order of the pipeline.
        anew: Artifacts that will be made anew, whatever they are.

    Raises:
        ValueError: an artifact is stale, another configuration made it, or a network knows other
            classes than the images; the first one in the pipeline is named, and what to run.
    """
    behind = {one for name in names for one in ancestors(experiment, name)}.union(names)
    kept = [one for one in ARTIFACTS if one in behind.difference(anew)]
    complete = _complete(experiment, kept)
    for one in complete:
        target, manifest = complete[one]
        follows = "" if one == names[-1] else _and_what_follows(one)
        if not target.matches(manifest):
            said = target.otherwise(manifest["recipe"], follows)
            raise ValueError(f"{target.uri} was made {said}")
        if changed := made_anew(experiment, one, complete):
            raise ValueError(
                f"{target.uri} is stale: inputs of it were made anew since, with other content "
                f"({', '.join(changed)}). Run {remake(one)}{follows}"
            )
        _check_classes(one, complete)


def _and_what_follows(name: str) -> str:
    return f", then what is made from it; or all at once: {command(f'run --from {name}')}"


def _check_classes(name: str, complete: Mapping[str, Found]) -> None:
    """Check that a network knows the classes of its images, in their order."""
    images = complete.get(images_of(name))
    if ARTIFACTS[name].kind != "network" or images is None:
        return
    here = list(images.manifest["facts"].get("class_names", []))
    there = list(complete[name].manifest["facts"].get("class_names", here))
    if here != there:
        raise ValueError(
            f"{complete[name].artifact.uri} was trained for the classes {', '.join(there)}, and "
            f"{images.artifact.uri} has {', '.join(here)}: its numbers would mean other classes. "
            f"Run {job_of(name)} --overwrite{_and_what_follows(name)}"
        )


def remade_from(experiment: Experiment, start: str) -> list[str]:
    """Return the artifacts to make anew from one on: it, what follows from it, what is stale.

    Args:
        experiment: The run.
        start: The artifact; an empty string: none is made anew.

    Raises:
        ValueError: the configuration makes no use of it.
    """
    names = [name for name in ARTIFACTS if is_needed(experiment, name)]
    if not start:
        return []
    if start not in names:
        raise ValueError(f"{start} is no part of this run: choose one of {', '.join(names)}")
    complete = _complete(experiment, names)
    anew: list[str] = []
    for name in names[names.index(start) :]:
        behind = set(ancestors(experiment, name))
        is_stale = name in complete and bool(made_anew(experiment, name, complete))
        if name == start or behind.intersection(anew) or is_stale:
            anew.append(name)
    return anew


def states(experiment: Experiment) -> dict[str, str]:
    """Say of each artifact that a configuration makes use of whether it is there, and of use.

    Returns:
        By the name of the artifact, a text that begins with `complete`, `stale`, `damaged`, `of
        another configuration`, `unfinished` or `missing`.
    """
    names = [name for name in ARTIFACTS if is_needed(experiment, name)]
    complete = _complete(experiment, names)
    found: dict[str, str] = {}
    for name in names:
        stale = [one for one, state in found.items() if state.startswith("stale")]
        found[name] = _state(experiment, name, complete, stale)
    return found


def status(experiment: Experiment) -> list[str]:
    """Write the states of a run's artifacts as lines for people."""
    found = states(experiment)
    width = max(map(len, found))
    return [f"{name:<{width}}  {state}" for name, state in found.items()]


def _state(
    experiment: Experiment, name: str, complete: Mapping[str, Found], stale: Collection[str]
) -> str:
    if name not in complete:
        unfinished = find(f"{artifact(experiment, name).uri}/{WORK}/*")
        return f"{'unfinished' if unfinished else 'missing'}: {job_of(name)}"
    target, manifest = complete[name]
    if not target.matches(manifest):
        return f"of another configuration: {target.differences(manifest['recipe'])[0].strip()}"
    changed = made_anew(experiment, name, complete)
    behind = [one for one in ancestors(experiment, name) if one in stale]
    if changed or behind:
        why = f"{changed[0]} was made anew since" if changed else f"{behind[0]} is stale"
        return f"stale: {why}: {job_of(name)} --overwrite"
    try:
        check_sizes(target.uri, manifest.get("files", []))
    except ValueError as error:
        return f"damaged: {error}"
    return f"complete: {manifest['rows']:,} rows, {manifest['errors']:,} errors · {target.uri}"
