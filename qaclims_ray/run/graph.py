"""The artifacts of a run, one row each: what each is made from, by which job, and what it holds.

A new artifact is one row here and its stage. What a configuration decides of it (its recipe), what
must be complete before, what preflight looks for, how far `run_all --until` goes, and the titles of
the report follow from the table.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import pyarrow as pa

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree, flatten
from qaclims_ray.types import SCHEMAS

Kind = Literal["images", "corpus", "pairs", "texts", "network", "cams", "label_maps", "scores"]
"""What an artifact holds: a network's files, or a table with the schema of that name."""

_WORKERS = "compute.train.num_workers"
"""The one key of `compute` that changes a result: it makes the global batch."""
# Not `evaluate.stream`, which changes how scores are made and not what they are.
_SCORES = (
    "evaluate.thresholds",
    "evaluate.threshold",
    "evaluate.names",
    "evaluate.absent_classes",
)
_LABEL_MAP_SCORES = ("evaluate.unsure", "evaluate.names", "evaluate.absent_classes")
_CHOICE = ("cams", "evaluate.thresholds", "evaluate.names")
"""Keys of the scores by which the best weights of a training are chosen."""


class Spec(NamedTuple):
    """One artifact of a run."""

    name: str
    kind: Kind
    stage: str
    """Module of the package whose `run(experiment, name)` makes it."""
    job: str
    """Script and flags that make it."""
    inputs: tuple[str, ...]
    """Artifacts that it is made from."""
    keys: tuple[str, ...]
    """Keys of the configuration that decide its content, beside those that decide its inputs."""
    title: str
    """Name in reports."""
    pool: str | None = None
    """Section of `compute` with the actors that make it; None: one process, or Ray Train."""
    of: str | None = None
    """Network that CAMs are of, or artifact that scores are of."""
    fit: str | None = None
    """Section of the configuration that says how a network is trained."""
    supervision: str | None = None
    """What was used to make label maps of an image, beside the networks; None: nothing."""
    needless: Callable[[Experiment], bool] | None = None
    """Whether a configuration does without it; None: none does."""


_ROWS = (
    Spec("images", "images", "ingest.stage", "ingest.py", (), ("data",), "Images", pool="ingest"),
    Spec(
        "corpus",
        "corpus",
        "corpus.stage",
        "build_corpus.py",
        ("images",),
        ("corpus.engine", "corpus.questions"),
        "Questions and answers",
        pool="corpus",
    ),
    Spec(
        "pairs",
        "pairs",
        "corpus.stage",
        "embed_texts.py",
        ("images", "corpus"),
        ("corpus.expected_names", "corpus.texts.foreground", "corpus.texts.backgrounds"),
        "Texts of each image and class",
    ),
    Spec(
        "texts",
        "texts",
        "corpus.stage",
        "embed_texts.py",
        ("pairs",),
        ("corpus.texts.template", "model.clip.model", "model.clip.pretrained"),
        "Text features",
        pool="texts",
    ),
    Spec(
        "classifier",
        "network",
        "train.stage",
        "train_classifier.py",
        ("images",),
        ("model.backbone", "model.backbone_weights", "train.seed", "train.classifier", _WORKERS),
        "Classifier, the baseline",
        fit="train.classifier",
    ),
    Spec(
        "cam_net",
        "network",
        "train.stage",
        "train_ritc.py",
        ("images", "pairs", "texts", "classifier"),
        ("model.backbone", "model.backbone_weights", "model.clip", "train.seed", "train.ritc"),
        "QA-CLIMS",
        fit="train.ritc",
    ),
    Spec(
        "baseline_cams",
        "cams",
        "cams.stage",
        "make_cams.py --baseline",
        ("images", "classifier"),
        ("cams",),
        "Baseline CAM",
        pool="cams",
        of="classifier",
    ),
    Spec(
        "cams",
        "cams",
        "cams.stage",
        "make_cams.py",
        ("images", "cam_net"),
        ("cams",),
        "QA-CLIMS CAM",
        pool="cams",
        of="cam_net",
    ),
    Spec(
        "baseline_scores",
        "scores",
        "evaluate.stream",
        "evaluate.py --baseline",
        ("images", "classifier", "baseline_cams"),
        _SCORES,
        "Baseline CAM",
        pool="evaluate",
        of="baseline_cams",
    ),
    Spec(
        "scores",
        "scores",
        "evaluate.stream",
        "evaluate.py",
        ("images", "cam_net", "cams"),
        _SCORES,
        "QA-CLIMS CAM",
        pool="evaluate",
        of="cams",
    ),
    Spec(
        "seeds",
        "label_maps",
        "refine.stage",
        "make_seeds.py",
        ("images", "cams"),
        ("refine.seeds",),
        "Seeds",
        pool="refine",
        supervision="image labels",
    ),
    Spec(
        "seed_scores",
        "scores",
        "evaluate.stream",
        "evaluate.py --of seeds",
        ("images", "seeds"),
        _LABEL_MAP_SCORES,
        "Seeds",
        pool="evaluate",
        of="seeds",
    ),
    Spec(
        "irn",
        "network",
        "train.stage",
        "train_irn.py",
        ("images", "seeds"),
        ("model.backbone", "model.backbone_weights", "train.seed", "train.irn", _WORKERS),
        "Boundary network",
        fit="train.irn",
        needless=lambda experiment: experiment.refine.masks.kind != "irn",
    ),
    Spec(
        "masks",
        "label_maps",
        "refine.stage",
        "make_masks.py",
        ("images", "cams", "irn"),
        ("refine.masks",),
        "Pseudo masks",
        pool="refine",
        supervision="image labels",
    ),
    Spec(
        "mask_scores",
        "scores",
        "evaluate.stream",
        "evaluate.py --of masks",
        ("images", "masks"),
        _LABEL_MAP_SCORES,
        "Pseudo masks",
        pool="evaluate",
        of="masks",
    ),
    Spec(
        "segmenter",
        "network",
        "train.stage",
        "train_segmenter.py",
        ("images", "masks"),
        ("train.seed", "train.segmenter", _WORKERS),
        "Segmenter",
        fit="train.segmenter",
    ),
    Spec(
        "predictions",
        "label_maps",
        "segment.stage",
        "predict.py",
        ("images", "segmenter"),
        ("segment",),
        "Predictions",
        pool="segment",
    ),
    Spec(
        "prediction_scores",
        "scores",
        "evaluate.stream",
        "evaluate.py --of predictions",
        ("images", "predictions"),
        _LABEL_MAP_SCORES,
        "Predictions",
        pool="evaluate",
        of="predictions",
    ),
)

ARTIFACTS: dict[str, Spec] = {spec.name: spec for spec in _ROWS}
"""Every artifact by its name, in the order in which they are made."""

_WITHOUT_EFFECT = {
    "data.max_errors",
    "data.shard_megabytes",
    # How an engine is fed and reached, not what it says.
    *(f"corpus.engine.{key}" for key in ("token_budget", "batch_size", "num_connections")),
    *(f"corpus.engine.{key}" for key in ("url", "timeout", "key_variable")),
}


def of_kind(kind: Kind) -> list[str]:
    """Return the names of the artifacts of a kind, in the order in which they are made."""
    return [name for name, spec in ARTIFACTS.items() if spec.kind == kind]


def scores_of(name: str) -> str | None:
    """Return the artifact that holds the scores of another one, such as `cams`."""
    return next((one for one in of_kind("scores") if ARTIFACTS[one].of == name), None)


def schema_of(name: str) -> pa.Schema:
    """Return the columns of a table artifact; the first one is its key."""
    return SCHEMAS[ARTIFACTS[name].kind]


def is_needed(experiment: Experiment, name: str) -> bool:
    """Return whether the configuration makes any use of an artifact."""
    needless = ARTIFACTS[name].needless
    return needless is None or not needless(experiment)


def inputs_of(experiment: Experiment, name: str) -> tuple[str, ...]:
    """Return the artifacts that an artifact is made from in this experiment."""
    return tuple(one for one in ARTIFACTS[name].inputs if is_needed(experiment, one))


def chosen_by_masks(experiment: Experiment, name: str) -> dict[str, str]:
    """Return the networks behind an artifact whose weights ground truth masks choose.

    With them (`keep: best`) nothing that follows is weakly supervised.

    Returns:
        The section of the configuration that says so, by the name of the network.
    """
    own = {name: fit} if (fit := _best_of(experiment, name)) else {}
    before = (chosen_by_masks(experiment, one) for one in inputs_of(experiment, name))
    return {network: fit for found in (*before, own) for network, fit in found.items()}


def _best_of(experiment: Experiment, name: str) -> str | None:
    """Return the section that trains a network, if its best score chooses the weights."""
    fit = ARTIFACTS[name].fit
    best = fit is not None and dict(flatten(experiment.plain()))[f"{fit}.keep"] == "best"
    return fit if best else None


def sections_of(experiment: Experiment, name: str) -> set[str]:
    """Return the keys and sections of the configuration that decide an artifact's content."""
    spec = ARTIFACTS[name]
    inherited = [sections_of(experiment, one) for one in inputs_of(experiment, name)]
    choice = _CHOICE if _best_of(experiment, name) else ()
    return {*spec.keys, *choice}.union(*inherited)


def recipe(experiment: Experiment, name: str) -> Tree:
    """Return the dotted keys and values that decide an artifact's content."""
    sections = sections_of(experiment, name)
    return {
        # No worker but this process is one worker.
        key: max(1, value) if key == _WORKERS else value
        for key, value in flatten(experiment.plain())
        if key not in _WITHOUT_EFFECT
        and any(key == section or key.startswith(f"{section}.") for section in sections)
    }
