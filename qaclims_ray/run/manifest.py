"""What is written down of a complete artifact: its recipe, inputs, files and what was found out."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, NotRequired

from typing_extensions import TypedDict

from qaclims_ray.config.overrides import Tree
from qaclims_ray.run.contents import File

_PACKAGES = ("qaclims_ray", "ray", "torch", "transformers", "open_clip_torch", "pillow")


class Manifest(TypedDict):
    """What `_COMPLETE.json` holds."""

    artifact: str
    identity: str
    """Digest of the content: equal content has an equal identity, whenever it was made."""
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
    files: NotRequired[list[File]]
    """Tables, weights and figures; artifacts of earlier versions lack the list."""
    versions: dict[str, str]
    revision: str
    """Commit of the code, or an empty string outside a checkout."""


class MadeFrom(TypedDict):
    """What unfinished work is made from."""

    recipe: Tree
    inputs: dict[str, str]


class Built(NamedTuple):
    """What a stage made."""

    rows: int
    errors: int
    facts: Tree
    parts: tuple[int, str] | None = None
    """How many of what else were made, such as (96, "answers"), for the summary line."""
    note: str = ""
    """What else the summary line says."""


def identity_of(files: Sequence[File], built: Built) -> str:
    """Digest what others can see of an artifact; people alone see reasons and figures."""
    seen = [
        (file["name"], file["digest"])
        for file in files
        if not file["name"].startswith("_") and not file["name"].endswith(".json")
    ]
    content = [seen, built.errors, built.facts.get("class_names")]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def versions() -> dict[str, str]:
    """Return the versions of the packages that can change what an artifact holds."""
    return {package: version(package) for package in _PACKAGES}


def revision() -> str:
    """Return the commit of the code, or an empty string outside a checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
