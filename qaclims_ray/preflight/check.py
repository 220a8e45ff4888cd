"""All that would end a run later, looked for before it starts, and said at once.

A run of days should not die on its second day of a pool that never fitted, a path that one node
lacks, or a full disk.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import uuid4

from qaclims_ray.cluster.capacity import NoRoom
from qaclims_ray.cluster.maps import require_pool
from qaclims_ray.cluster.session import capacity, object_store_bytes, on_each_node, start
from qaclims_ray.cluster.training import scaling
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.preflight.cache import TrainingImages
from qaclims_ray.preflight.checks import (
    class_problems,
    clean_up,
    crf_fault,
    crf_keys,
    crf_problems,
    disk_problems,
    free_bytes,
    local_paths,
    sees,
    sharing_problems,
    storage_problems,
    store_note,
    truth_note,
)
from qaclims_ray.preflight.estimate import Counts, Work, count, estimate
from qaclims_ray.preflight.memory import WORTH_A_LOOK, memory_needs, memory_problems, node_memory
from qaclims_ray.preflight.models import (
    model_problems,
    supervision_problems,
    without_unreachable_nets,
)
from qaclims_ray.preflight.networks import network_problems
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, images_of, inputs_of, is_needed, of_kind
from qaclims_ray.run.lineage import check_lineage
from qaclims_ray.storage.filesystem import is_local
from qaclims_ray.storage.paths import absolute


def artifacts_until(last: str, experiment: Experiment) -> list[str]:
    """Return the artifacts of a whole run in order, up to `last`; an empty string: all of them.

    CAMs that nothing but scores is made of are none of them where `evaluate.stream` has them
    scored and not kept.
    """
    names = list(ARTIFACTS)
    until = names[: names.index(last) + 1] if last else names
    streams = experiment.evaluate.stream
    kept = [name for name in until if is_needed(experiment, name)]
    used = {
        one
        for name in kept
        if ARTIFACTS[name].kind != "scores"
        for one in inputs_of(experiment, name)
    }
    return [name for name in kept if not streams or ARTIFACTS[name].kind != "cams" or name in used]


def check(
    experiment: Experiment, *names: str, overwrite: bool = False, anew: Collection[str] = ()
) -> list[str]:
    """Look for what would keep artifacts from being made; starts Ray if one is to be made.

    Args:
        experiment: The run.
        names: Of the artifacts, in the order in which they will be made.
        overwrite: Complete ones will be made anew.
        anew: Those that will be made anew, where not all will.

    Returns:
        Lines for people: the cluster, the work that each artifact takes, notes. None where all
        artifacts are complete.

    Raises:
        ValueError: everything that would end the run, one sentence each, with the key to change;
            or first of all, that something is stale.
    """
    experiment, anew = experiment.anchored(), names if overwrite else anew
    if names:
        check_lineage(experiment, *names, anew=anew)
    todo = [name for name in names if name in anew or _is_missing(experiment, name)]
    if not todo:
        return []
    _require_inputs(experiment, todo, names)
    probes, counts = _probes(experiment, todo), count(experiment)
    problems = [
        problem
        for key, probe in probes.items()
        for problem in storage_problems(probe.rpartition("/")[0], probe, key)
    ]
    problems += class_problems(todo, counts.classes)
    models = model_problems(experiment, todo)
    buildable = without_unreachable_nets(todo, models)
    models = network_problems(experiment, buildable, counts.classes) + models
    problems += models or supervision_problems(experiment, todo)
    try:
        start(experiment.compute)
        crowded = _room_problems(experiment, todo)
        problems += [f"{section}: {error}" for section, error in crowded.items()]
        problems += _sharing_problems(experiment, todo, probes)
        problems += _memory_problems(experiment, todo, counts)
        if keys := crf_keys(experiment, todo):
            problems += crf_problems(keys, on_each_node(crf_fault))
    finally:
        for probe in probes.values():
            clean_up(probe)
    work, impossible = _work(experiment, buildable, counts)
    images = TrainingImages(experiment, work)
    problems += impossible + _disk_problems(experiment, work, images) + images.problems()
    if problems:
        can_fit = all(error.overrides for error in crowded.values())
        fits = [one for error in crowded.values() for one in error.overrides]
        together = f"\nAll of it fits with {' '.join(fits)}" if len(crowded) > 1 and can_fit else ""
        raise ValueError("\n  ".join(["this run would not end well:", *problems]) + together)
    return [*_lines(experiment, work, counts), *images.notes(), *truth_note(experiment, names)]


def check_sizes(experiment: Experiment, names: Sequence[str]) -> list[str]:
    """Check that networks can hold the largest image, and nodes all of them, once they are there.

    Returns:
        Lines for people.

    Raises:
        ValueError: they can't, and what to change.
    """
    todo = [name for name in names if _is_missing(experiment, name)]
    images = TrainingImages(experiment, todo)
    problems = _memory_problems(experiment, todo, count(experiment))
    problems += _disk_problems(experiment, {}, images) + images.problems()
    if problems:
        raise ValueError("this run would not end well:\n  " + "\n  ".join(problems))
    return images.notes()


def _memory_problems(experiment: Experiment, todo: Sequence[str], counts: Counts) -> list[str]:
    needs = memory_needs(experiment, todo, counts)
    large = [need for need in needs if need.num_bytes > WORTH_A_LOOK]
    return memory_problems(large, on_each_node(node_memory)) if large else []


def _is_missing(experiment: Experiment, name: str) -> bool:
    images = artifact(experiment, images_of(name)).manifest()
    has_truth = images is None or images["facts"].get("num_masks", 0) > 0
    if ARTIFACTS[name].kind == "scores" and not has_truth:  # there are no scores to make
        return False
    return not artifact(experiment, name).is_complete()


def _require_inputs(experiment: Experiment, todo: Sequence[str], names: Sequence[str]) -> None:
    streamed = of_kind("cams") if experiment.evaluate.stream else []  # scored as they are made
    needed = {
        one
        for name in todo
        for one in inputs_of(experiment, name)
        if ARTIFACTS[name].kind != "scores" or one not in streamed
    }
    problems: list[str] = []
    for one in sorted(needed.difference(names), key=list(ARTIFACTS).index):
        try:
            artifact(experiment, one).require()
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def _work(
    experiment: Experiment, todo: Sequence[str], counts: Counts
) -> tuple[dict[str, Work], list[str]]:
    """The work of each artifact; and why there is none, such as fewer images than a step takes."""
    work: dict[str, Work] = {}
    problems: list[str] = []
    for name in todo:
        try:
            work[name] = estimate(experiment, name, counts)
        except ValueError as error:
            problems.append(str(error))
    return work, problems


def _room_problems(experiment: Experiment, todo: Sequence[str]) -> dict[str, NoRoom]:
    """What the cluster can never place, by its section of the configuration."""
    compute, streams = experiment.compute, experiment.evaluate.stream
    pools = {
        "cams" if streams and ARTIFACTS[name].kind == "scores" else ARTIFACTS[name].pool
        for name in todo
    }
    problems: dict[str, NoRoom] = {}
    for pool in sorted(pool for pool in pools if pool is not None):
        try:
            require_pool(compute, pool)
        except NoRoom as error:
            problems[f"compute.{pool}"] = error
    if compute.train.num_workers and set(todo).intersection(of_kind("network")):
        try:
            scaling(compute)
        except NoRoom as error:
            problems["compute.train"] = error
    return problems


def _probes(experiment: Experiment, todo: Sequence[str]) -> dict[str, str]:
    """Files to write and to look for, one in each folder that will be written, by its key."""
    cache = experiment.corpus.cache if "corpus" in todo else None
    folders = {"run": experiment.run} | ({} if cache is None else {"corpus.cache": absolute(cache)})
    return {key: f"{folder}/.preflight-{uuid4().hex}" for key, folder in folders.items()}


def _sharing_problems(
    experiment: Experiment, todo: Sequence[str], probes: Mapping[str, str]
) -> list[str]:
    paths = local_paths(experiment, todo)
    for key, probe in probes.items():
        if is_local(probe) and sees(probe):  # else `storage_problems` says why it was not written
            paths[key] = probe
    seen = on_each_node(_sees_all, paths)
    problems = sharing_problems(paths, seen)
    for probe in probes.values():
        problems = [problem.replace(probe, probe.rpartition("/")[0]) for problem in problems]
    return problems


def _sees_all(paths: Mapping[str, str]) -> dict[str, bool]:
    return {key: sees(path) for key, path in paths.items()}


def _disk_problems(
    experiment: Experiment, work: Mapping[str, Work], images: TrainingImages
) -> list[str]:
    nodes = on_each_node(free_bytes) if images.trainings else {}
    wanted = sum(one.num_bytes for one in work.values())
    return disk_problems(experiment.run, wanted, nodes, images.held_bytes)


def _lines(experiment: Experiment, work: Mapping[str, Work], counts: Counts) -> list[str]:
    notes = store_note(experiment, counts, object_store_bytes()) if "corpus" in work else []
    there = capacity(experiment.compute)
    grows = "" if there.is_known else ", and what its autoscaler adds"
    cluster = f"Ray: {there.describe()}{grows}"
    return [cluster, *(one.line for one in work.values()), *notes]
