"""The artifacts of a run, one row each: what each is made from, by which job, and what it holds.

A new artifact is one row here and its stage. What a configuration decides of it (its recipe), what
must be complete before, what preflight looks for, how far `run_all --until` goes, and the titles of
the report follow from the table.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import pyarrow as pa

from qaclims_ray.config.data import Data
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree, flatten
from qaclims_ray.types import SCHEMAS

Kind = Literal["images", "corpus", "pairs", "texts", "network", "cams", "label_maps", "scores"]
"""What an artifact holds: a network's files, or a table with the schema of that name."""

_WORKERS = "compute.train.num_workers"
"""The one key of `compute` that changes a result, as it makes the global batch; beside
`compute.train.cache_gigabytes`, where images are more than that."""
# Not `evaluate.stream`, which changes how scores are made and not what they are.
_SCORES = (
    "evaluate.thresholds",
    "evaluate.threshold",
    "evaluate.names",
    "evaluate.absent_classes",
)
_NEW_SCORES = ("evaluate.unsure", "evaluate.absent_classes")
_LABEL_MAP_SCORES = (*_NEW_SCORES, "evaluate.names")
_NETWORK_CAMS = ("cams.scales", "cams.activation", "cams.resize", "cams.resolution")
_CLIP_CAMS = ("cams.kind", "cams.backgrounds", "cams.clip")
_CHOICE = (*_NETWORK_CAMS, "evaluate.thresholds", "evaluate.names", "evaluate.absent_classes")
"""Keys of the scores by which the best weights of a training are chosen."""


def _has_no_new_images(experiment: Experiment) -> bool:
    return experiment.new_images is None


class Spec(NamedTuple):
    """One artifact of a run."""

    name: str
    kind: Kind
    stage: str
    """Module of the package whose `run(experiment, name)` makes it."""
    job: str
    """Sub-command of `qaclims`, and flags, that make it."""
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
    unused: Callable[[Experiment], tuple[str, ...]] = lambda _: ()
    """Inputs and keys that a configuration makes no use of."""
    spares: str = ""
    """What making it anew does not do again, for messages."""


def _by_clip(experiment: Experiment) -> bool:
    return experiment.cams.kind == "clip"


def _learns_clip_cams(experiment: Experiment) -> bool:
    return experiment.train.ritc.loss.clip_cams > 0 and not _by_clip(experiment)


def _without_pairs(experiment: Experiment) -> bool:
    """Return whether CLIP sees class names and fixed background words alone, as in CLIP-ES."""
    backgrounds, texts = experiment.cams.backgrounds, experiment.corpus.texts
    asked = backgrounds in ("answers", "both") and texts.backgrounds == "answers"
    return _by_clip(experiment) and not asked and texts.foreground == "class_name"


def _unused_by_texts(experiment: Experiment) -> tuple[str, ...]:
    return ("pairs",) if _without_pairs(experiment) else ("images",)


def _unused_by_cams(experiment: Experiment) -> tuple[str, ...]:
    if not _by_clip(experiment):
        return ("pairs", "cam_texts", *_CLIP_CAMS)
    unused = ("cam_net", "cams.scales", "cams.activation", "cams.resize")
    return (*unused, "pairs") if _without_pairs(experiment) else unused


_ROWS = (
    Spec("images", "images", "ingest.stage", "ingest", (), ("data",), "Images", pool="ingest"),
    Spec(
        "corpus",
        "corpus",
        "corpus.stage",
        "corpus",
        ("images",),
        ("corpus.engine", "corpus.questions", "corpus.wordnet"),
        "Questions and answers",
        pool="corpus",
        needless=_without_pairs,
        spares=" (which asks nothing that corpus.cache answers)",
    ),
    Spec(
        "pairs",
        "pairs",
        "corpus.stage",
        "texts",
        ("images", "corpus"),
        ("corpus.expected_names", "corpus.texts.foreground", "corpus.texts.backgrounds"),
        "Texts of each image and class",
        needless=_without_pairs,
    ),
    Spec(
        "texts",
        "texts",
        "corpus.stage",
        "texts",
        ("pairs",),
        ("corpus.texts.template", "model.clip.model", "model.clip.pretrained"),
        "Text features",
        pool="texts",
        needless=_by_clip,
    ),
    Spec(
        "cam_texts",
        "texts",
        "corpus.stage",
        "texts",
        ("images", "pairs"),
        tuple(
            f"cams.clip.{key}" for key in ("model", "pretrained", "template", "background_words")
        ),
        "Text features of the CLIP that makes CAMs",
        pool="texts",
        needless=lambda experiment: not (_by_clip(experiment) or _learns_clip_cams(experiment)),
        unused=_unused_by_texts,
    ),
    Spec(
        "clip_cams",
        "cams",
        "cams.stage",
        "cams --clip",
        ("images", "pairs", "cam_texts"),
        ("cams.resolution", "cams.backgrounds", "cams.clip"),
        "CLIP CAM",
        pool="cams",
        needless=lambda experiment: not _learns_clip_cams(experiment),
    ),
    Spec(
        "classifier",
        "network",
        "train.stage",
        "train-classifier",
        ("images",),
        ("model.backbone", "model.backbone_weights", "train.seed", "train.classifier", _WORKERS),
        "Classifier, the baseline",
        fit="train.classifier",
        needless=_by_clip,
    ),
    Spec(
        "cam_net",
        "network",
        "train.stage",
        "train-ritc",
        ("images", "pairs", "texts", "clip_cams", "classifier"),
        ("model.backbone", "model.backbone_weights", "model.clip", "train.seed", "train.ritc"),
        "QA-CLIMS",
        fit="train.ritc",
        needless=_by_clip,
        unused=lambda experiment: () if _learns_clip_cams(experiment) else ("clip_cams",),
    ),
    Spec(
        "baseline_cams",
        "cams",
        "cams.stage",
        "cams --baseline",
        ("images", "classifier"),
        _NETWORK_CAMS,
        "Baseline CAM",
        pool="cams",
        of="classifier",
        needless=_by_clip,
    ),
    Spec(
        "cams",
        "cams",
        "cams.stage",
        "cams",
        ("images", "cam_net", "pairs", "cam_texts"),
        (*_NETWORK_CAMS, *_CLIP_CAMS),
        "QA-CLIMS CAM",
        pool="cams",
        of="cam_net",
        unused=_unused_by_cams,
    ),
    Spec(
        "baseline_scores",
        "scores",
        "evaluate.stream",
        "evaluate --baseline",
        ("images", "classifier", "baseline_cams"),
        _SCORES,
        "Baseline CAM",
        pool="evaluate",
        of="baseline_cams",
        needless=_by_clip,
    ),
    Spec(
        "scores",
        "scores",
        "evaluate.stream",
        "evaluate",
        ("images", "cam_net", "pairs", "cam_texts", "cams"),
        _SCORES,
        "QA-CLIMS CAM",
        pool="evaluate",
        of="cams",
        unused=_unused_by_cams,
    ),
    Spec(
        "seeds",
        "label_maps",
        "refine.stage",
        "seeds",
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
        "evaluate --of seeds",
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
        "train-irn",
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
        "masks",
        ("images", "cams", "irn"),
        ("refine.masks",),
        "Pseudo masks",
        pool="refine",
        supervision="image labels",
        unused=lambda experiment: () if experiment.refine.masks.kind == "irn" else ("irn",),
    ),
    Spec(
        "mask_scores",
        "scores",
        "evaluate.stream",
        "evaluate --of masks",
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
        "train-segmenter",
        ("images", "masks"),
        ("train.seed", "train.segmenter", _WORKERS),
        "Segmenter",
        fit="train.segmenter",
    ),
    Spec(
        "predictions",
        "label_maps",
        "segment.stage",
        "predict",
        ("images", "segmenter"),
        ("segment",),
        "Predictions",
        pool="segment",
    ),
    Spec(
        "prediction_scores",
        "scores",
        "evaluate.stream",
        "evaluate --of predictions",
        ("images", "predictions"),
        _LABEL_MAP_SCORES,
        "Predictions",
        pool="evaluate",
        of="predictions",
    ),
    Spec(
        "new_images",
        "images",
        "ingest.stage",
        "predict --new",
        (),
        ("new_images",),
        "New images",
        pool="ingest",
        needless=_has_no_new_images,
    ),
    Spec(
        "new_predictions",
        "label_maps",
        "segment.stage",
        "predict --new",
        ("new_images", "segmenter"),
        ("segment",),
        "Predictions of new images",
        pool="segment",
        needless=_has_no_new_images,
    ),
    Spec(
        "new_prediction_scores",
        "scores",
        "evaluate.stream",
        "evaluate --of new_predictions",
        ("new_images", "new_predictions"),
        _NEW_SCORES,
        "Predictions of new images",
        pool="evaluate",
        of="new_predictions",
        needless=_has_no_new_images,
    ),
)

ARTIFACTS: dict[str, Spec] = {spec.name: spec for spec in _ROWS}
"""Every artifact by its name, in the order in which they are made."""

_WITHOUT_EFFECT = {
    *(
        f"{data}.{key}"
        for data in ("data", "new_images")
        for key in ("max_errors", "max_missing", "shard_megabytes")
    ),
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


def images_of(name: str) -> str:
    """Return the artifact of images that an artifact is about."""
    spec = ARTIFACTS[name]
    about = (one for one in spec.inputs if ARTIFACTS[one].kind == "images")
    return name if spec.kind == "images" else next(about, "images")


def data_of(experiment: Experiment, name: str) -> Data:
    """Return the section of the configuration about the images that an artifact is about.

    Raises:
        ValueError: the configuration has none.
    """
    if images_of(name) == "images":
        return experiment.data
    if experiment.new_images is None:
        raise ValueError(
            f"{name}: new_images is null, so there are no images to predict: set it, such as "
            "new_images='{kind: images, location: photos}', or pass --images photos to qaclims "
            "predict"
        )
    return experiment.new_images


def schema_of(name: str) -> pa.Schema:
    """Return the columns of a table artifact; the first one is its key."""
    return SCHEMAS[ARTIFACTS[name].kind]


def title_of(experiment: Experiment, name: str) -> str:
    """Return the name of an artifact in reports; CAMs are called after what made them."""
    title = ARTIFACTS[name].title
    by_clip = _by_clip(experiment) and name in ("cams", "scores")
    return "CLIP CAM" if by_clip else title


def is_needed(experiment: Experiment, name: str) -> bool:
    """Return whether the configuration makes any use of an artifact."""
    needless = ARTIFACTS[name].needless
    return needless is None or not needless(experiment)


def inputs_of(experiment: Experiment, name: str) -> tuple[str, ...]:
    """Return the artifacts that an artifact is made from in this experiment."""
    spec = ARTIFACTS[name]
    unused = spec.unused(experiment)
    return tuple(one for one in spec.inputs if one not in unused)


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
    return {*spec.keys, *choice}.difference(spec.unused(experiment)).union(*inherited)


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
