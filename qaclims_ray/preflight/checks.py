"""Checks that need no Ray. Each gives what is wrong as one sentence each; none: all is well."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qaclims_ray.config.data import Folder, Voc12
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.label_maps import check_num_classes
from qaclims_ray.ingest.voc12 import no_masks, usual_masks
from qaclims_ray.model.crf import check_crf_build
from qaclims_ray.preflight.estimate import Counts
from qaclims_ray.preflight.models import model_paths
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, images_of, of_kind
from qaclims_ray.storage.files import exists, read_bytes, remove, write_bytes
from qaclims_ray.storage.filesystem import is_local
from qaclims_ray.storage.paths import WEB, absolute, join, shown
from qaclims_ray.train.cache import KEY as CACHE

_PACKAGED = "runtime_resources"
"""Part of the path of the copy of a working directory that Ray gives a submitted job."""
_CHECKED = b"qaclims_ray"


def storage_problems(run: str, probe: str, key: str = "run") -> list[str]:
    """Write a file into the run, read it, and leave it there for the nodes to look for.

    Args:
        run: Folder of the run, or another one that will be written.
        probe: The file.
        key: Of the configuration that names the folder.
    """
    if is_local(run) and _PACKAGED in Path(run).parts:
        return [
            f"{key}: {run} is in the copy of the working directory that Ray made for this job, and "
            f"goes with it: give {key}= an absolute path on storage that all nodes share, or a URL"
        ]
    try:
        write_bytes(probe, _CHECKED)
        if read_bytes(probe) == _CHECKED:
            return []
        return [f"{key}: {shown(probe)} does not hold what was just written there"]
    except (OSError, ValueError) as error:
        return [f"{key}: {shown(run)} cannot be written and read: {error}"]


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
        shared = key.partition(".")[0] in ("run", "data", "new_images") or key == "corpus.cache"
        remedy = (
            "a folder that all nodes share, or a URL" if shared else "a path that all nodes have"
        )
        if without:
            problems.append(
                f"{key}: {path} is not there on {', '.join(without)} ({len(without)} of "
                f"{len(seen)} nodes): give {key}= {remedy}"
            )
    return problems


def disk_problems(run: str, wanted: int, node_bytes: Mapping[str, int], copied: int) -> list[str]:
    """Where the disks are too small.

    Args:
        run: Of the experiment.
        wanted: Bytes that will be written there.
        node_bytes: Free bytes of each node's folder for temporary files.
        copied: Bytes that a training holds there.
    """
    problems: list[str] = []
    if is_local(run) and (free := free_bytes(run)) < wanted:
        problems.append(
            f"run: about {_megabytes(wanted)} will be written to {run}, {_megabytes(free)} are "
            "free: make room, or give run= another place"
        )
    problems += [
        f"{node}: a training copies {_megabytes(copied)} of images into {tempfile.gettempdir()}, "
        f"{_megabytes(free)} are free there: make room, start Ray with another TMPDIR, or set "
        f"{CACHE} to what a training may hold there"
        for node, free in node_bytes.items()
        if free < copied
    ]
    return problems


def class_problems(names: Iterable[str], num_classes: int) -> list[str]:
    """Return why label maps cannot hold the classes, where label maps are to be made."""
    if not set(names).intersection(of_kind("label_maps")):
        return []
    try:
        check_num_classes(num_classes)
    except ValueError as error:
        return [str(error)]
    return []


def crf_keys(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """Return the keys of the configuration that want the dense CRF for these artifacts."""
    stages = {"seeds" if name == "seeds" else ARTIFACTS[name].stage for name in names}
    wanted = {
        "refine.seeds.kind": "seeds" in stages and experiment.refine.seeds.kind == "crf",
        "segment.refine": "segment.stage" in stages and experiment.segment.refine == "crf",
    }
    return [key for key, is_wanted in wanted.items() if is_wanted]


def crf_fault() -> str | None:
    """Return why the dense CRF of this process is of no use; None: it computes what it should."""
    try:
        check_crf_build()
    except (ImportError, ValueError) as error:
        return str(error)
    return None


def crf_problems(keys: Sequence[str], faults: Mapping[str, str | None]) -> list[str]:
    """Return what is wrong with the dense CRF.

    Args:
        keys: Keys of the configuration that want it.
        faults: What `crf_fault` finds on each node.
    """
    nodes: dict[str, list[str]] = {}
    for node, fault in faults.items():
        if fault is not None:
            nodes.setdefault(fault, []).append(node)
    return [
        f"{' and '.join(keys)}: crf on {', '.join(where)} ({len(where)} of {len(faults)} nodes): "
        f"{fault}"
        for fault, where in nodes.items()
    ]


def truth_note(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """Note that there will be no scores, where nobody has ground truth for any image."""
    wanted = [name for name in names if ARTIFACTS[name].kind == "scores"]
    wanted = [name for name in wanted if images_of(name) == "images"]
    images, data = artifact(experiment, "images").manifest(), experiment.data
    reason = ""
    if images is not None:
        reason = "" if images["facts"].get("num_masks") else "no image has ground truth"
    elif isinstance(data, Voc12) and not data.root.startswith(WEB):
        folder = join(absolute(data.root), data.masks or usual_masks(data.split))
        reason = "" if exists(folder) else no_masks(folder, data.split)
    elif isinstance(data, Folder) and not data.root.startswith(WEB):
        folder = join(absolute(data.root), "masks")
        there = exists(folder)
        reason = "" if there else f"{folder} is not there, unless the labels file names masks"
    return [f"no scores ({', '.join(wanted)}): {reason}"] if wanted and reason else []


def store_note(experiment: Experiment, counts: Counts, store_bytes: int) -> list[str]:
    """A note where decoded images will not fit into the object store, and Ray will use the disk."""
    pool = experiment.compute.corpus
    image = 3 * counts.height * counts.width
    # An actor has a batch in work and one waiting, with a GPU two each; one more is on its way.
    batches = 5 if pool.num_gpus else 3
    wanted = batches * (pool.max_actors or pool.num_actors) * pool.batch_size * image
    if wanted <= store_bytes:
        return []
    return [
        f"corpus: {_megabytes(wanted)} of decoded images are under way at a time, the object store "
        f"has {_megabytes(store_bytes)}: Ray will write them to disk. Lower "
        "compute.corpus.batch_size, or raise compute.object_store_megabytes"
    ]


def local_paths(experiment: Experiment, names: Iterable[str]) -> dict[str, str]:
    """Local paths that every node needs, by key of the configuration; the run's is another."""
    sections = {"images": "data", "new_images": "new_images"}
    asked = [sections[name] for name in names if name in sections]
    data = {
        f"{section}.{key}": absolute(path)
        for section in asked
        for key in ("root", "location", "corrections")
        if (path := getattr(getattr(experiment, section), key, None))
    }
    return {key: path for key, path in data.items() if is_local(path)} | model_paths(
        experiment, names
    )


def _megabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"
