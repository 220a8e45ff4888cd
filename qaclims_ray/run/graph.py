"""The artifacts of a run, one row each: what each is made from, by which job, and what it holds.

A new artifact is one row here and its stage. What a configuration decides of it (its recipe), what
must be complete before, what preflight looks for, how far `run_all --until` goes, and the titles of
the report follow from the table.
"""

import pyarrow as pa

from qaclims_ray.config.data import Data
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.spec import (
    CLIP_CAMS,
    NETWORK_CAMS,
    WORKERS,
    Kind,
    Spec,
    by_clip,
    has_no_new_images,
    learns_clip_cams,
    unused_by_cams,
    unused_by_texts,
    without_pairs,
)
from qaclims_ray.types import SCHEMAS

# Not `evaluate.stream`, which changes how scores are made and not what they are.
_SCORES = (
    "evaluate.thresholds",
    "evaluate.threshold",
    "evaluate.names",
    "evaluate.absent_classes",
)
_NEW_SCORES = ("evaluate.unsure", "evaluate.absent_classes")


def _label_map_scores(name: str, of: str, title: str) -> Spec:
    """Make the row of scores of label maps of the run's own images."""
    job, keys = f"evaluate --of {of}", (*_NEW_SCORES, "evaluate.names")
    inputs = ("images", of)
    return Spec(name, "scores", "evaluate.stream", job, inputs, keys, title, pool="evaluate", of=of)


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
        needless=without_pairs,
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
        needless=without_pairs,
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
        needless=by_clip,
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
        needless=lambda experiment: not (by_clip(experiment) or learns_clip_cams(experiment)),
        unused=unused_by_texts,
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
        needless=lambda experiment: not learns_clip_cams(experiment),
    ),
    Spec(
        "classifier",
        "network",
        "train.stage",
        "train-classifier",
        ("images",),
        ("model.backbone", "model.backbone_weights", "train.seed", "train.classifier", WORKERS),
        "Classifier, the baseline",
        fit="train.classifier",
        needless=by_clip,
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
        needless=by_clip,
        unused=lambda experiment: () if learns_clip_cams(experiment) else ("clip_cams",),
    ),
    Spec(
        "baseline_cams",
        "cams",
        "cams.stage",
        "cams --baseline",
        ("images", "classifier"),
        NETWORK_CAMS,
        "Baseline CAM",
        pool="cams",
        of="classifier",
        needless=by_clip,
    ),
    Spec(
        "cams",
        "cams",
        "cams.stage",
        "cams",
        ("images", "cam_net", "pairs", "cam_texts"),
        (*NETWORK_CAMS, *CLIP_CAMS),
        "QA-CLIMS CAM",
        pool="cams",
        of="cam_net",
        unused=unused_by_cams,
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
        needless=by_clip,
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
        unused=unused_by_cams,
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
    _label_map_scores("seed_scores", "seeds", "Seeds"),
    Spec(
        "irn",
        "network",
        "train.stage",
        "train-irn",
        ("images", "seeds"),
        ("model.backbone", "model.backbone_weights", "train.seed", "train.irn", WORKERS),
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
    _label_map_scores("mask_scores", "masks", "Pseudo masks"),
    Spec(
        "segmenter",
        "network",
        "train.stage",
        "train-segmenter",
        ("images", "masks"),
        ("train.seed", "train.segmenter", WORKERS),
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
    _label_map_scores("prediction_scores", "predictions", "Predictions"),
    Spec(
        "new_images",
        "images",
        "ingest.stage",
        "predict --new",
        (),
        ("new_images",),
        "New images",
        pool="ingest",
        needless=has_no_new_images,
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
        needless=has_no_new_images,
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
        needless=has_no_new_images,
    ),
)

ARTIFACTS: dict[str, Spec] = {spec.name: spec for spec in _ROWS}
"""Every artifact by its name, in the order in which they are made."""


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
    if by_clip(experiment) and name in ("cams", "scores"):
        return "CLIP CAM"
    return ARTIFACTS[name].title


def is_needed(experiment: Experiment, name: str) -> bool:
    """Return whether the configuration makes any use of an artifact."""
    needless = ARTIFACTS[name].needless
    return needless is None or not needless(experiment)


def inputs_of(experiment: Experiment, name: str) -> tuple[str, ...]:
    """Return the artifacts that an artifact is made from in this experiment."""
    spec = ARTIFACTS[name]
    unused = spec.unused(experiment)
    return tuple(one for one in spec.inputs if one not in unused)
