"""Checks that need no Ray. Each gives what is wrong as one sentence each; none: all is well."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import open_clip
from huggingface_hub import hf_hub_download

from qaclims_ray.config import Experiment, resolve
from qaclims_ray.preflight.estimate import Counts
from qaclims_ray.sections.corpus import Blip, Chat, Vllm
from qaclims_ray.storage import absolute, exists, is_local, read_bytes, remove, shown, write_bytes

_PACKAGED = "runtime_resources"
"""Part of the path of the copy of a working directory that Ray gives a submitted job."""
_CHECKED = b"qaclims_ray"


def storage_problems(run: str, probe: str) -> list[str]:
    """Write a file into the run, read it, and leave it there for the nodes to look for."""
    if is_local(run) and _PACKAGED in Path(run).parts:
        return [
            f"run: {run} is in the copy of the working directory that Ray made for this job, and "
            "goes with it: give run= an absolute path on storage that all nodes share, or a URL"
        ]
    try:
        write_bytes(probe, _CHECKED)
        if read_bytes(probe) == _CHECKED:
            return []
        return [f"run: {shown(probe)} does not hold what was just written there"]
    except (OSError, ValueError) as error:
        return [f"run: {shown(run)} cannot be written and read: {error}"]


def clean_up(probe: str) -> None:
    """Remove the file of `storage_problems`, where it is."""
    if exists(probe):
        remove(probe)


def sees(path: str) -> bool:
    """Whether a process, on whatever node, has the local file or folder."""
    return Path(path).exists()


def free_bytes(folder: str | None = None) -> int:
    """Free space of the disk that has a folder (or its parent, if it is yet to be made)."""
    place = Path(folder or tempfile.gettempdir())
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def sharing_problems(paths: Mapping[str, str], seen: Mapping[str, Mapping[str, bool]]) -> list[str]:
    """What some nodes lack.

    Args:
        paths: Key of the configuration to the local path that all nodes need.
        seen: For each node, whether it has the path of each key.
    """
    problems: list[str] = []
    for key, path in paths.items():
        without = [node for node, has in seen.items() if not has[key]]
        if without:
            problems.append(
                f"{key}: {path} is not there on {', '.join(without)} ({len(without)} of "
                f"{len(seen)} nodes): give {key}= a folder that all nodes share, or a URL"
            )
    return problems


def disk_problems(run: str, wanted: int, node_bytes: Mapping[str, int], copied: int) -> list[str]:
    """Where the disks are too small.

    Args:
        run: Of the experiment.
        wanted: Bytes that will be written there.
        node_bytes: Free bytes of each node's folder for temporary files.
        copied: Bytes that a training copies there.
    """
    problems: list[str] = []
    if is_local(run) and (free := free_bytes(run)) < wanted:
        problems.append(
            f"run: about {_megabytes(wanted)} will be written to {run}, {_megabytes(free)} are "
            "free: make room, or give run= another place"
        )
    problems += [
        f"{node}: a training copies {_megabytes(copied)} of images into {tempfile.gettempdir()}, "
        f"{_megabytes(free)} are free there: make room, or start Ray with another TMPDIR"
        for node, free in node_bytes.items()
        if free < copied
    ]
    return problems


def store_note(experiment: Experiment, counts: Counts, store_bytes: int) -> list[str]:
    """A note where decoded images will not fit into the object store, and Ray will use the disk."""
    pool = experiment.compute.corpus
    image = 3 * counts.height * counts.width
    # An actor has a batch in work and one waiting; one more is on its way.
    wanted = 3 * (pool.max_actors or pool.num_actors) * pool.batch_size * image
    if wanted <= store_bytes:
        return []
    return [
        f"corpus: {_megabytes(wanted)} of decoded images are under way at a time, the object store "
        f"has {_megabytes(store_bytes)}: Ray will write them to disk. Lower "
        "compute.corpus.batch_size, or raise compute.object_store_megabytes"
    ]


def model_paths(experiment: Experiment, names: Iterable[str]) -> dict[str, str]:
    """Local files and folders of models that these artifacts need, by key of the configuration."""
    found = {key: resolve(model) for key, model in _models(experiment, set(names)).items()}
    return {key: path for key, path in found.items() if _is_path(path)}


def model_problems(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """Models that are named, and not there: of the Hub, and of open_clip."""
    problems: list[str] = []
    for key, model in _models(experiment, set(names)).items():
        if _is_path(resolve(model)):
            continue
        if key == "corpus.engine.model":
            problems += _hub_problems(key, model)
        elif key == "model.clip.model" and model not in open_clip.list_models():
            problems.append(
                f"{key}: {model!r} is neither a folder nor a model of open_clip "
                "(open_clip.list_models() lists them)"
            )
    return problems


def _hub_problems(key: str, model: str) -> list[str]:
    try:
        hf_hub_download(model, "config.json")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        return [
            f"{key}: {model!r} is neither a folder here nor to be had from the Hub: {reason}. "
            "Download it to a folder that all nodes share, and give that"
        ]
    return []


def _models(experiment: Experiment, names: set[str]) -> dict[str, str]:
    engine, model = experiment.corpus.engine, experiment.model
    found: dict[str, str | None] = {}
    if "corpus" in names and isinstance(engine, (Blip, Chat, Vllm)):
        found["corpus.engine.model"] = engine.model
    if names & {"texts", "cam_net"}:
        found["model.clip.model"] = model.clip.model
        found["model.clip.pretrained"] = model.clip.pretrained
    if "classifier" in names:
        found["model.backbone_weights"] = model.backbone_weights
    return {key: value for key, value in found.items() if value is not None}


def _is_path(model: str) -> bool:
    """Whether a model is meant as a file or folder rather than by a name."""
    return os.path.isabs(model) or model.startswith(".") or Path(model).exists()


def local_paths(experiment: Experiment, names: Iterable[str]) -> dict[str, str]:
    """Local paths that every node needs, by key of the configuration; the run's is another."""
    root = getattr(experiment.data, "root", None)
    data = {"data.root": absolute(root)} if root and "images" in set(names) else {}
    return {key: path for key, path in data.items() if is_local(path)} | model_paths(
        experiment, names
    )


def _megabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"
