"""A run's artifacts at a URI: where each lives, what it was made from, and whether it is complete.

    <run>/<artifact>/part-00000.parquet …   rows, sorted by name
                     _errors/…              rows that failed, with their reason
                     _COMPLETE.json         written last: its existence means that all else is there
                     _work/…                of a run under way, or interrupted

An artifact's recipe is the part of the configuration that it depends on. What another recipe made
is never used, nor overwritten unless asked.
"""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypedDict
from uuid import uuid4

from qaclims_ray.config import Experiment
from qaclims_ray.overrides import Tree, differences, flatten
from qaclims_ray.storage import absolute, find, read_json, remove, write_json

COMPLETE = "_COMPLETE.json"
ERRORS = "_errors"
WORK = "_work"

_WORKERS = "compute.train.num_workers"
"""The one key of `compute` that changes a result: it makes the global batch."""
_CORPUS = ("data", "corpus.engine", "corpus.questions")
_PAIRS = (
    *_CORPUS,
    "corpus.expected_names",
    "corpus.texts.foreground",
    "corpus.texts.backgrounds",
)
_TEXTS = (*_PAIRS, "corpus.texts.template", "model.clip.model", "model.clip.pretrained")
_CLASSIFIER = (
    "data",
    "model.backbone",
    "model.backbone_weights",
    "train.seed",
    "train.classifier",
    _WORKERS,
)
_CAM_NET = (*_TEXTS, *_CLASSIFIER, "model", "train")

RECIPES: dict[str, tuple[str, ...]] = {
    "images": ("data",),
    "corpus": _CORPUS,
    "pairs": _PAIRS,
    "texts": _TEXTS,
    "classifier": _CLASSIFIER,
    "cam_net": _CAM_NET,
    "baseline_cams": (*_CLASSIFIER, "cams"),
    "cams": (*_CAM_NET, "cams"),
    "baseline_scores": (*_CLASSIFIER, "cams", "evaluate"),
    "scores": (*_CAM_NET, "cams", "evaluate"),
}
"""Keys of the configuration that each artifact depends on, in the order in which they are made."""

_WITHOUT_EFFECT = ("data.max_errors",)

INPUTS: dict[str, tuple[str, ...]] = {
    "images": (),
    "corpus": ("images",),
    "pairs": ("images", "corpus"),
    "texts": ("pairs",),
    "classifier": ("images",),
    "cam_net": ("images", "pairs", "texts", "classifier"),
    "baseline_cams": ("images", "classifier"),
    "cams": ("images", "cam_net"),
    "baseline_scores": ("images", "baseline_cams"),
    "scores": ("images", "cams"),
}
"""Artifacts that each artifact is made from."""


class Manifest(TypedDict):
    """What `_COMPLETE.json` holds."""

    artifact: str
    identity: str
    """Of this very content: made anew, an artifact has another."""
    inputs: dict[str, str]
    """Identities of the artifacts that it was made from."""
    digest: str
    recipe: Tree
    """The keys of the configuration that the artifact depends on."""
    rows: int
    errors: int
    seconds: float
    facts: Tree
    """What the stage found out, such as class names."""
    versions: dict[str, str]
    revision: str
    """Commit of the code, or an empty string outside a checkout."""


@dataclass(frozen=True)
class Artifact:
    """One folder of a run and the recipe that its content must have."""

    name: str
    uri: str
    recipe: Tree

    @property
    def digest(self) -> str:
        """Of the recipe: equal digests mean equal content."""
        canonical = json.dumps(self.recipe, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def work(self) -> str:
        """Folder of unfinished work; another recipe's work lies elsewhere."""
        return f"{self.uri}/{WORK}/{self.digest}"

    def manifest(self) -> Manifest | None:
        """What the completion marker says, or None without one."""
        return read_json(f"{self.uri}/{COMPLETE}")

    def is_complete(self) -> bool:
        """Whether all rows are there.

        Raises:
            ValueError: another recipe made them; the differences are listed.
        """
        manifest = self.manifest()
        if manifest is None:
            return False
        if manifest["digest"] != self.digest:
            lines = "\n  ".join(differences(manifest["recipe"], self.recipe))
            raise ValueError(
                f"{self.uri} was made with another configuration:\n  {lines}\n"
                "Choose another run=…, restore these values, or pass --overwrite to make it anew."
            )
        return True

    def require(self) -> Manifest:
        """The manifest of a complete artifact.

        Raises:
            ValueError: it is not there yet; the message names the job that makes it.
        """
        manifest = self.manifest() if self.is_complete() else None
        if manifest is None:
            raise ValueError(f"{self.uri} is not complete: run jobs/{_JOBS[self.name]} first")
        return manifest

    def shards(self) -> list[str]:
        """URIs of the Parquet files, in order."""
        return find(f"{self.uri}/part-*.parquet")

    def clear(self) -> None:
        """Remove everything, the marker first, so that no reader takes a rest for a whole."""
        remove(f"{self.uri}/{COMPLETE}")
        remove(self.uri)

    def start(self, inputs: dict[str, str]) -> None:
        """Go on with interrupted work of the same recipe and inputs; remove all other leftovers."""
        made_from = f"{self.work}/made_from.json"
        if read_json(made_from) != inputs:
            self.clear()
            write_json(made_from, inputs)

    def complete(self, built: "Built", seconds: float, inputs: dict[str, str]) -> Manifest:
        """Write the completion marker, then remove the unfinished work."""
        manifest = Manifest(
            artifact=self.name,
            identity=uuid4().hex,
            inputs=inputs,
            digest=self.digest,
            recipe=self.recipe,
            rows=built.rows,
            errors=built.errors,
            seconds=round(seconds, 1),
            facts=built.facts,
            versions={name: version(name) for name in ("qaclims_ray", "ray", "torch")},
            revision=_revision(),
        )
        write_json(f"{self.uri}/{COMPLETE}", manifest)
        remove(f"{self.uri}/{WORK}")
        return manifest


_JOBS = {
    "images": "ingest.py",
    "corpus": "build_corpus.py",
    "pairs": "embed_texts.py",
    "texts": "embed_texts.py",
    "classifier": "train_classifier.py",
    "cam_net": "train_ritc.py",
    "baseline_cams": "make_cams.py --baseline",
    "cams": "make_cams.py",
    "baseline_scores": "evaluate.py --baseline",
    "scores": "evaluate.py",
}


class Built(NamedTuple):
    """What a stage made."""

    rows: int
    errors: int
    facts: Tree


def artifact(experiment: Experiment, name: str) -> Artifact:
    """The artifact `name` of a run, or of the first base run that has it where this one hasn't."""
    own = own_artifact(experiment, name)
    for base in experiment.base if own.manifest() is None else ():
        shared = Artifact(name, f"{absolute(base)}/{name}", own.recipe)
        manifest = shared.manifest()
        if manifest is not None and manifest["digest"] == own.digest:
            return shared
    return own


def own_artifact(experiment: Experiment, name: str) -> Artifact:
    """The artifact `name` of this very run."""
    return Artifact(name, f"{absolute(experiment.run)}/{name}", recipe(experiment, name))


def class_names(images: Artifact) -> tuple[str, ...]:
    """The class names of a complete artifact `images`, in the order of their indices."""
    return tuple(images.require()["facts"]["class_names"])


def make(
    experiment: Experiment,
    name: str,
    build: Callable[[Artifact], Built],
    overwrite: bool,
) -> str:
    """Make an artifact unless it is complete; the frame of every stage.

    Args:
        experiment: The run.
        name: Of the artifact.
        build: Makes all but the completion marker; goes on from what it finds in `Artifact.work`.
        overwrite: Remove what is there first.

    Returns:
        One line for the user: rows, seconds, rows per second, errors, where the result lies.

    Raises:
        ValueError: the artifact is there, made with another configuration.
    """
    target = own_artifact(experiment, name) if overwrite else artifact(experiment, name)
    if overwrite:
        target.clear()
    inputs = _identities(experiment, name)
    if target.is_complete():
        manifest = target.require()
        _check_inputs(target, manifest["inputs"], inputs)
        return f"{name}: complete already, {_counts(manifest)} · {target.uri}"
    target.start(inputs)
    start = time.monotonic()
    built = build(target)
    manifest = target.complete(built, time.monotonic() - start, inputs)
    speed = manifest["rows"] / max(manifest["seconds"], 0.1)
    seconds = f"{manifest['seconds']:.1f} s, {speed:.1f} rows/s"
    return f"{name}: {_counts(manifest)}, {seconds} · {target.uri}"


def _identities(experiment: Experiment, name: str) -> dict[str, str]:
    manifests = {needed: artifact(experiment, needed).manifest() for needed in INPUTS[name]}
    return {needed: found["identity"] for needed, found in manifests.items() if found is not None}


def _check_inputs(target: Artifact, before: dict[str, str], now: dict[str, str]) -> None:
    anew = [name for name, identity in now.items() if before.get(name, identity) != identity]
    if anew:
        raise ValueError(
            f"{target.uri} was made from {' and '.join(anew)} that have been made anew since: "
            "pass --overwrite to make it anew too"
        )


def _counts(manifest: Manifest) -> str:
    return f"{manifest['rows']:,} rows, {manifest['errors']:,} errors"


def recipe(experiment: Experiment, name: str) -> Tree:
    """Dotted keys and values that the artifact `name` depends on."""
    sections = RECIPES[name]
    return {
        # No worker but this process is one worker.
        key: max(1, value) if key == _WORKERS else value
        for key, value in flatten(experiment.plain())
        if key not in _WITHOUT_EFFECT
        and any(key == section or key.startswith(f"{section}.") for section in sections)
    }


def _revision() -> str:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
