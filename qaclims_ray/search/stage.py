"""A search under Ray: trials, then the best of them and the configuration's own over seeds.

Reads `images`, `pairs`, `texts` and `classifier`, which it makes where they are not there; writes
`<run>/search/` (see results.py) and one run for each trial below it. Interrupted, the same search
goes on. With `tune.refine` it reads `images`, `cams` and, for masks by the random walk, `irn`, and
chooses the thresholds of seeds and masks.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from heapq import merge
from itertools import islice
from operator import add
from typing import TypeVar

import numpy as np

from qaclims_ray.cluster.capacity import Keys
from qaclims_ray.cluster.session import capacity, start
from qaclims_ray.cluster.tasks import as_they_end
from qaclims_ray.cluster.training import TrialResources, trial_resources
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.search import Refine
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.images.label_maps import check_num_classes
from qaclims_ray.ingest import stage as data_stage
from qaclims_ray.model.crf import check_crf_build
from qaclims_ray.preflight import check as preflight_stage
from qaclims_ray.run.artifact import Artifact, artifact, job_of
from qaclims_ray.run.images import check_sorted, class_names
from qaclims_ray.run.lease import lease
from qaclims_ray.run.lineage import check_lineage
from qaclims_ray.run.manifest import Built, Facts
from qaclims_ray.run.tables import names_of
from qaclims_ray.search import space
from qaclims_ray.search.finalists import compare
from qaclims_ray.search.holdout import Names, Split, limited, write_names
from qaclims_ray.search.results import search_artifact, winner, write_results
from qaclims_ray.search.sweep import add_up, count_masks, count_seeds
from qaclims_ray.search.thresholds import (
    MASKS,
    PUBLISHED_MASKS,
    PUBLISHED_SEEDS,
    SEEDS,
    Setting,
    choose_masks,
    choose_seeds,
    masks_line,
    seeds_line,
)
from qaclims_ray.search.tuner import run_trials
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.paths import absolute
from qaclims_ray.train import stage as train_stage
from qaclims_ray.train.loggers import check_boards

_T = TypeVar("_T")

_CHUNK = 32
"""Number of images whose label maps one task makes."""


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
    if experiment.tune.refine is not None:
        _refine_resources(experiment, experiment.tune.refine)
    if not experiment.tune.space:
        return []
    space.check(experiment)
    check_boards(experiment.compute.train)
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
        check_lineage(experiment, *space.SHARED)
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
    _check_shared(experiment, target, manifest["inputs"])
    found, own = (f"{100 * miou:.1f}" for miou in (target.fact("held_out"), target.fact("default")))
    return (
        f"search: {manifest['rows']} trials, {manifest['errors']} failed, "
        f"{manifest['seconds']:.0f} s; {target.fact('winner')} wins: mIoU {found} on held-out "
        f"images, the configuration's own values {own} · {target.uri}"
    )


def _check_shared(experiment: Experiment, target: Artifact, before: Mapping[str, str]) -> None:
    """Check that a complete search is of what trials share now, ground truth included."""
    there = {name: artifact(experiment, name).manifest() for name in space.SHARED}
    now = {name: manifest["identity"] for name, manifest in there.items() if manifest is not None}
    changed = [one for one, identity in now.items() if before.get(one, identity) != identity]
    if changed:
        raise ValueError(
            f"{target.uri} is stale: inputs of it were made anew since, with other content "
            f"({', '.join(changed)}). Run {job_of(target.name)} --overwrite"
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
    facts: Facts = {
        "winner": best["name"],
        "held_out": float(np.mean(best["held_out"])),
        "default": float(np.mean(found[0]["held_out"])),
    }
    return Built(len(rows), sum(row["status"] == "failed" for row in rows), facts)


def _refine(experiment: Experiment, wanted: Refine) -> list[str]:
    """Choose the thresholds of seeds and masks; return a summary line for each."""
    each = _refine_resources(experiment, wanted)
    folder = f"{absolute(experiment.run)}/search"
    names = limited(write_names(experiment, folder), wanted.num_images, experiment.tune.seed)
    _check_cams(experiment, names)
    searches = {_refine_seeds: wanted.seeds, _refine_masks: wanted.masks}
    return [
        search(experiment, wanted, names, each, folder)
        for search, thresholds in searches.items()
        if thresholds
    ]


def _refine_seeds(
    experiment: Experiment, wanted: Refine, names: Split, each: Mapping[str, float], folder: str
) -> str:
    thresholds = sorted({*wanted.seeds, *PUBLISHED_SEEDS})
    selection, report = (
        reduce(add_up, _spread(count_seeds, experiment, part, thresholds, each)) for part in names
    )
    setting = _setting(experiment.refine.seeds.kind, names)
    found = choose_seeds(selection, report, thresholds, wanted.min_coverage, setting)
    write_json(f"{folder}/{SEEDS}", found)
    return seeds_line(found, f"{folder}/{SEEDS}")


def _refine_masks(
    experiment: Experiment, wanted: Refine, names: Split, each: Mapping[str, float], folder: str
) -> str:
    thresholds = sorted({*wanted.masks, PUBLISHED_MASKS})
    selection, report = (
        reduce(add, _spread(count_masks, experiment, part, thresholds, each)) for part in names
    )
    setting = _setting(experiment.refine.masks.kind, names)
    found = choose_masks(selection, report, thresholds, setting)
    write_json(f"{folder}/{MASKS}", found)
    return masks_line(found, f"{folder}/{MASKS}")


def _setting(kind: str, names: Split) -> Setting:
    return Setting(kind=kind, num_choosing=len(names.selection), num_held_out=len(names.report))


def _refine_resources(experiment: Experiment, wanted: Refine) -> dict[str, float]:
    """Return the resources of a task that makes label maps; starts Ray.

    Raises:
        ImportError: the CRF is wanted, and not installed.
        ValueError: there are no CAMs, or no boundary network though the masks need it; the CRF
            computes wrong numbers; the cluster has no room for such a task.
    """
    check_lineage(experiment, "cams")
    artifact(experiment, "cams").require()
    check_num_classes(len(class_names(artifact(experiment, "images"))))
    if wanted.seeds and experiment.refine.seeds.kind == "crf":
        check_crf_build()
    if wanted.masks and experiment.refine.masks.kind == "irn":
        check_lineage(experiment, "irn")
        artifact(experiment, "irn").require()
    start(experiment.compute)
    pool = experiment.compute.refine
    each = {"CPU": pool.num_cpus, "GPU": pool.num_gpus}
    capacity(experiment.compute).require(1, each, Keys("", "compute.refine"))
    return each


def _check_cams(experiment: Experiment, names: Split) -> None:
    cams = artifact(experiment, "cams")
    remedy = "list the images to score in evaluate.names, or make these CAMs anew"
    wanted = merge(names.selection, names.report)
    check_sorted(wanted, names_of(cams), f"{cams.uri} lacks images with ground truth", remedy)


def _spread(
    work: Callable[..., _T],
    experiment: Experiment,
    names: Names,
    thresholds: Sequence[float],
    each: Mapping[str, float],
) -> Iterator[_T]:
    """Count label maps by the tasks of `compute.refine`, each for some of the images."""
    remaining = iter(names)
    chunks = iter(lambda: list(islice(remaining, _CHUNK)), [])
    calls = ((experiment, chunk, thresholds) for chunk in chunks)
    at_a_time, num_calls = experiment.compute.refine.num_actors, -(-len(names) // _CHUNK)
    ended = as_they_end(work, calls, each, at_a_time, "label maps", num_calls)
    return (counts for _, counts in ended)
