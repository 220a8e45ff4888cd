"""What is written down of a complete artifact: its recipe, inputs, files and what was found out."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

from typing_extensions import TypedDict

from qaclims_ray.config.overrides import Tree
from qaclims_ray.run.contents import File

_PACKAGES = ("qaclims_ray", "ray", "torch", "transformers", "open_clip_torch", "pillow")


class Supervised(TypedDict):
    """What the weights that a network starts from were trained with."""

    pixel_masks: bool | None
    """None: nobody knows."""
    reason: str


class Facts(TypedDict, total=False):
    """What stages find out; each states some of these."""

    class_names: list[str]
    """Of images and networks: names in the order of their indices."""

    # Images, which `ingest.facts` has in full.
    num_images: int
    num_pairs: int
    """(image, class) pairs."""
    num_masks: int
    """Images with ground truth."""
    num_bad_masks: int
    num_unlabelled: int
    num_kept_unlabelled: int
    num_listed_errors: int
    images_per_class: dict[str, int]
    height: tuple[int, int, int]
    """Least, median and greatest, in pixels; as are width and pixels."""
    width: tuple[int, int, int]
    pixels: tuple[int, int, int]
    masks: Any
    fingerprint: Any
    identity_without_masks: str
    """Identity of images for all that makes no use of ground truth."""

    # Corpus and texts.
    questions: int
    lost: int
    """Questions about images that failed."""
    answers: int
    unanswered: int
    cut: int
    empty: int
    refused: int
    texts: int
    """Unique texts of all pairs."""

    # Networks.
    steps: int
    buffer_bytes: int
    """Size of the buffer that decided the order of training images, where there was one."""
    dead_maps: bool
    """True where no map of the last steps had a logit above 0."""
    weights: Supervised
    imported: list[str]
    """Files that a network or a corpus was taken from."""

    # CAMs.
    num_maps: int
    num_empty_maps: int
    """Maps that are 0 everywhere."""
    num_fallbacks: int
    """Images without background answers, with the fixed words instead."""

    # Scores.
    miou: float
    num_without_truth: int
    num_unreadable: int
    flat_scores: bool
    """True where scores are the same at each threshold."""

    # A search.
    winner: str
    held_out: float
    """mIoU of the winner on the images that are reported."""
    default: float
    """mIoU of the configuration's own values on them."""


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
    facts: Facts
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
    facts: Facts
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
