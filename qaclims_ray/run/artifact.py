"""A run's artifacts at a URI: where each lives, what it was made from, and whether it is complete.

    <run>/<artifact>/part-00000.parquet …   rows, sorted by name
                     _errors/…              rows that failed, with their reason
                     _mask_errors/…         of images: bad masks, with their reason
                     _COMPLETE.json         written last: its existence means that all else is there
                     _work/<digest>/…       of a run under way, or interrupted
                     _owner.json            the job that works at it, see `owner`

An artifact's recipe is the part of the configuration that it depends on. What another recipe made,
finished or not, is never used, nor removed unless asked.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree, differences
from qaclims_ray.config.renamed import current_keys
from qaclims_ray.run.contents import WEIGHTS, check_digests, check_sizes, list_contents
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.run.lease import OWNER
from qaclims_ray.run.manifest import Built, MadeFrom, Manifest, identity_of, revision, versions
from qaclims_ray.run.recipe import comparable, recipe, without_masks
from qaclims_ray.storage.files import remove, write_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.paths import absolute
from qaclims_ray.storage.records import read_record

COMPLETE = "_COMPLETE.json"
ERRORS = "_errors"
MASK_ERRORS = "_mask_errors"
"""Bad masks of `images`, which cost their image nothing but its ground truth."""
WORK = "_work"

log = logging.getLogger(__name__)

_MADE_FROM = "made_from.json"
ROWS = ("rows/*.parquet",)
"""What a map leaves in unfinished work that took long to make."""
Fact = Literal["class_names", "num_masks", "texts", "winner", "held_out", "default"]


@dataclass(frozen=True)
class Artifact:
    """One folder of a run and the recipe that its content must have."""

    name: str
    uri: str
    recipe: Tree

    @property
    def digest(self) -> str:
        """Digest of the recipe: equal digests mean equal content."""
        canonical = json.dumps(self.recipe, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def run(self) -> str:
        """URI of the run that it is a part of."""
        return self.uri.rpartition("/")[0]

    @property
    def work(self) -> str:
        """Folder of unfinished work; its name is the recipe's digest."""
        return f"{self.uri}/{WORK}/{self.digest}"

    def manifest(self) -> Manifest | None:
        """What the completion marker says, or None without one.

        Raises:
            ValueError: it is damaged.
        """
        return read_record(f"{self.uri}/{COMPLETE}", Manifest)

    def is_complete(self) -> bool:
        """Whether all rows are there.

        Raises:
            ValueError: another recipe made them (the differences are listed), or a file was lost.
        """
        manifest = self.manifest()
        if manifest is None:
            return False
        if not self.matches(manifest):
            raise ValueError(f"{self.uri} was made {self.otherwise(manifest['recipe'])}")
        check_sizes(self.uri, manifest.get("files", []))
        return True

    def matches(self, manifest: Manifest) -> bool:
        """Return whether a manifest is of this recipe, whatever its keys were called before."""
        if manifest["digest"] == self.digest:
            return True
        return self._comparable(manifest["recipe"]) == self.recipe

    def require(self) -> Manifest:
        """The manifest of a complete artifact, whose weights are read once to be sure of them.

        Raises:
            ValueError: it is not there yet (the message names the job that makes it), or damaged.
        """
        manifest = self.manifest() if self.is_complete() else None
        if manifest is None:
            raise ValueError(f"{self.uri} is not complete: run {job_of(self.name)} first")
        files = manifest.get("files", [])
        check_digests(self.uri, [file for file in files if file["name"].endswith(WEIGHTS)])
        return manifest

    @overload
    def fact(self, name: Literal["class_names"]) -> list[str]: ...

    @overload
    def fact(self, name: Literal["num_masks", "texts"]) -> int: ...

    @overload
    def fact(self, name: Literal["winner"]) -> str: ...

    @overload
    def fact(self, name: Literal["held_out", "default"]) -> float: ...

    def fact(self, name: Fact) -> list[str] | str | int | float:
        """Return what the stage of a complete artifact found out, such as `class_names`.

        Raises:
            ValueError: see `require`; or the manifest does not tell.
        """
        found = self.require()["facts"].get(name)
        if found is None:
            raise ValueError(
                f"{self.uri}/{COMPLETE} lacks the fact {name!r}: it is damaged, or of another "
                "version; restore it from a copy, or make the artifact anew (--overwrite)"
            )
        return found

    def shards(self) -> list[str]:
        """URIs of the Parquet files, in order.

        Raises:
            ValueError: the artifact is complete, and one was lost.
        """
        manifest = self.manifest()
        if manifest is not None:
            check_sizes(self.uri, manifest.get("files", []))
        return find(f"{self.uri}/part-*.parquet")

    def clear(self) -> None:
        """Remove everything; half removed, it is taken neither for a whole nor for a beginning."""
        remove(f"{self.uri}/{COMPLETE}")
        for made_from in find(f"{self.uri}/{WORK}/*/{_MADE_FROM}"):
            remove(made_from)
        for rest in find(f"{self.uri}/*"):
            if not rest.endswith(f"/{OWNER}"):
                remove(rest)

    def start(self, inputs: dict[str, str], costly: Sequence[str] = ROWS) -> None:
        """Go on with interrupted work of this recipe and inputs, or begin anew.

        Work on inputs that have been made anew since is of no use: it is removed, with a warning.

        Args:
            inputs: Identities of the artifacts that it is made from.
            costly: Patterns of what the stage leaves in unfinished work that took long to make:
                another recipe never removes it unasked.

        Raises:
            ValueError: unfinished work of another recipe is there; the differences are listed.
        """
        root = f"{self.uri}/{WORK}"
        found = [uri for pattern in costly for uri in find(f"{root}/*/{pattern}")]
        for digest in sorted({uri.partition(f"/{WORK}/")[2].partition("/")[0] for uri in found}):
            made_from = read_record(f"{root}/{digest}/{_MADE_FROM}", MadeFrom)
            if digest != self.digest and made_from is not None:
                otherwise = self.otherwise(made_from["recipe"])
                raise ValueError(f"{self.uri} holds unfinished work made {otherwise}")
        if not self.goes_on(inputs):
            if find(f"{self.work}/{_MADE_FROM}"):
                log.warning("%s: its inputs were made anew, unfinished work is dropped", self.uri)
            self.clear()
            self.begin(inputs)

    def goes_on(self, inputs: dict[str, str]) -> bool:
        """Return whether there is unfinished work of this recipe and these inputs."""
        before = read_record(f"{self.work}/{_MADE_FROM}", MadeFrom)
        return before is not None and before["inputs"] == inputs

    def begin(self, inputs: dict[str, str]) -> None:
        """Say what the unfinished work is made from."""
        write_json(f"{self.work}/{_MADE_FROM}", MadeFrom(recipe=self.recipe, inputs=inputs))

    def differences(self, other: Tree) -> list[str]:
        """Return a line for each key that another recipe has otherwise."""
        return differences(self._comparable(other), self.recipe)

    def _comparable(self, other: Tree) -> Tree:
        return comparable(current_keys(other), self.recipe)

    def otherwise(self, other: Tree, follows: str = "") -> str:
        """Say how another recipe differs from this one, and what to do about it.

        Args:
            other: The recipe.
            follows: What to run after the artifact's own job.
        """
        lines = "\n  ".join(self.differences(other))
        return (
            f"with another configuration:\n  {lines}\n"
            f"Keep it, and make what differs in another run: run=NEW base=[{self.run}]; or make it "
            f"anew here: {remake(self.name)}{follows}; or restore these values."
        )

    def complete(self, built: Built, seconds: float, inputs: dict[str, str]) -> Manifest:
        """Write the completion marker, then remove the unfinished work."""
        files = list_contents(self.uri, self.work)
        manifest = Manifest(
            artifact=self.name,
            identity=identity_of(files, built),
            inputs=inputs,
            digest=self.digest,
            recipe=self.recipe,
            rows=built.rows,
            errors=built.errors,
            seconds=round(seconds, 1),
            facts=built.facts,
            files=files,
            versions=versions(),
            revision=revision(),
        )
        write_json(f"{self.uri}/{COMPLETE}", manifest)
        remove(f"{self.uri}/{WORK}")
        return manifest


def artifact(experiment: Experiment, name: str) -> Artifact:
    """The artifact `name` of a run, or of the first base run that has it where this one hasn't."""
    own = own_artifact(experiment, name)
    for base in experiment.base if own.manifest() is None else ():
        shared = Artifact(name, f"{absolute(base)}/{name}", own.recipe)
        manifest = shared.manifest()
        if manifest is not None and shared.matches(manifest):
            return shared
    return own


def own_artifact(experiment: Experiment, name: str) -> Artifact:
    """The artifact `name` of this very run."""
    own = without_masks(experiment, name, recipe(experiment, name))
    return Artifact(name, f"{absolute(experiment.run)}/{name}", own)


def job_of(name: str) -> str:
    """Return the command that makes an artifact, or the search of a run."""
    return command(ARTIFACTS[name].job if name in ARTIFACTS else "tune")


def remake(name: str) -> str:
    """Return the command that makes an artifact anew, and what that does not do again."""
    spares = ARTIFACTS[name].spares if name in ARTIFACTS else ""
    return f"{job_of(name)} --overwrite{spares}"


def command(job: str) -> str:
    """Return how a job is called, for messages."""
    return f"qaclims {job}"
