"""A search under Ray: trials, then the best of them and the configuration's own over seeds.

Reads `images`, `pairs`, `texts` and `classifier`, which it makes where they are not there; writes
`<run>/search/` (see results.py) and one run for each trial below it. Interrupted, the same search
goes on. With `tune.refine` it reads `cams` and `scores` and chooses thresholds over them.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from qaclims_ray.cluster.session import capacity, start
from qaclims_ray.cluster.tasks import together
from qaclims_ray.cluster.training import TrialResources, trial_resources
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree
from qaclims_ray.config.search import Refine
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.ingest import stage as data_stage
from qaclims_ray.preflight import check as preflight_stage
from qaclims_ray.run.artifact import Artifact, Built, artifact
from qaclims_ray.run.lease import lease
from qaclims_ray.search import space
from qaclims_ray.search.finalists import compare
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.results import search_artifact, winner, write_results
from qaclims_ray.search.thresholds import search_seeds
from qaclims_ray.search.tuner import run_trials
from qaclims_ray.search.walk import check_cams, choose_background, count_masks, write_walk
from qaclims_ray.storage.paths import absolute
from qaclims_ray.train import stage as train_stage

_CHUNK = 32
"""Number of images whose masks one task makes."""


def check(experiment: Experiment, *, overwrite: bool = False) -> list[str]:
    """Check that a search can be carried out, before anything runs.

    Args:
        experiment: Experiment of the search.
        overwrite: A complete search will be made anew.

    Returns:
        Lines for people: on the shared artifacts that are yet to be made, and on one training.

    Raises:
        ValueError: all problems, each with the key to change.
    """
    if experiment.tune.refine is not None and experiment.tune.refine.walk:
        _mask_resources(experiment)
    if not experiment.tune.space:
        return []
    space.check(experiment)
    if not overwrite and search_artifact(experiment).is_complete():
        return []
    shared = [name for name in space.SHARED if not artifact(experiment, name).is_complete()]
    # As if it were overwritten: a network in a base run is none of the trials'.
    return preflight_stage.check(experiment, *shared, "cam_net", overwrite=True)


def run(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Run the search of the section `tune`; write `<run>/search/` and return the summary lines.

    Raises:
        ValueError: the space is empty or does not fit the configuration, or the cluster is too
            small for the trials that run at a time.
    """
    experiment, lines = experiment.anchored(), list[str]()
    if experiment.tune.space or experiment.tune.refine is None:
        lines.append(_search(experiment, overwrite))
    if experiment.tune.refine is not None:
        lines.extend(_refine(experiment, experiment.tune.refine))
    return "\n".join(lines)


def _search(experiment: Experiment, overwrite: bool) -> str:
    space.check(experiment)
    target = search_artifact(experiment)
    if overwrite:
        target.clear()
    if not target.is_complete():
        start(experiment.compute)
        resources = trial_resources(experiment.compute)
        _prepare(experiment)
        began = time.monotonic()
        inputs = {name: artifact(experiment, name).require()["identity"] for name in space.SHARED}
        with lease(target.uri):
            target.start(inputs, costly=("tune/*",))
            built = _build(experiment, target, resources)
            target.complete(built, time.monotonic() - began, inputs)
    manifest = target.require()
    facts = manifest["facts"]
    found, own = (f"{100 * facts[name]:.1f}" for name in ("held_out", "default"))
    return (
        f"search: {manifest['rows']} trials, {manifest['errors']} failed, "
        f"{manifest['seconds']:.0f} s; {facts['winner']} wins: mIoU {found} on held-out images, "
        f"the configuration's own values {own} · {target.uri}"
    )


def _prepare(experiment: Experiment) -> None:
    """Make the artifacts that trials share, where they are not there."""
    data_stage.run(experiment)
    corpus_stage.run(experiment)
    corpus_stage.run_texts(experiment)
    train_stage.run(experiment, "classifier")


def _build(experiment: Experiment, target: Artifact, resources: TrialResources) -> Built:
    names = write_names(experiment, target.uri)
    rows = run_trials(experiment, target, resources.own)
    found = compare(experiment, target.uri, rows, names, resources)
    write_results(experiment, rows, found, target.uri)
    best = winner(found)
    facts = {
        "winner": best["name"],
        "held_out": float(np.mean(best["held_out"])),
        "default": float(np.mean(found[0]["held_out"])),
    }
    return Built(len(rows), sum(row["status"] == "failed" for row in rows), facts)


def _refine(experiment: Experiment, wanted: Refine) -> list[str]:
    """Choose thresholds over CAMs that are there."""
    each = _mask_resources(experiment) if wanted.walk else {}
    names = write_names(experiment, f"{absolute(experiment.run)}/search")
    lines = [search_seeds(experiment, names, wanted)]
    if wanted.walk:
        selection, report = (_masks(experiment, part, each) for part in names)
        thresholds = experiment.evaluate.thresholds
        found = choose_background(selection, report, thresholds, wanted.irn)
        lines.append(write_walk(experiment, found))
    return lines


def _mask_resources(experiment: Experiment) -> dict[str, float]:
    """Return the resources of a task that makes masks; starts Ray.

    Raises:
        ValueError: there are no CAMs to start from; the cluster has no room for such a task.
    """
    check_cams(experiment)
    start(experiment.compute)
    pool = experiment.compute.evaluate
    each = {"CPU": pool.num_cpus, "GPU": pool.num_gpus}
    capacity(experiment.compute).require(1, each, "compute.evaluate.num_cpus or .num_gpus")
    return each


def _masks(
    experiment: Experiment, names: Sequence[str], each: Mapping[str, float]
) -> Int[np.ndarray, "T K K"]:
    """Count confusions of the walk's masks by the tasks of `compute.evaluate`."""
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    calls = [(experiment.plain(), chunk) for chunk in chunks]
    at_a_time = experiment.compute.evaluate.num_actors
    return np.sum(together(_count_masks, calls, each, at_a_time, "masks"), axis=0)


def _count_masks(plain: Tree, names: Sequence[str]) -> Int[np.ndarray, "T K K"]:
    return count_masks(Experiment.model_validate(plain), names)
