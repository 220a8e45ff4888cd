"""What each artifact of a run depends on: keys of the configuration, and other artifacts."""

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import Tree, flatten

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
# Not `evaluate.stream`, which changes how scores are made and not what they are.
_SCORES = ("cams", "evaluate.thresholds", "evaluate.threshold", "evaluate.names")

RECIPES: dict[str, tuple[str, ...]] = {
    "images": ("data",),
    "corpus": _CORPUS,
    "pairs": _PAIRS,
    "texts": _TEXTS,
    "classifier": _CLASSIFIER,
    "cam_net": _CAM_NET,
    "baseline_cams": (*_CLASSIFIER, "cams"),
    "cams": (*_CAM_NET, "cams"),
    "baseline_scores": (*_CLASSIFIER, *_SCORES),
    "scores": (*_CAM_NET, *_SCORES),
}
"""Keys of the configuration that each artifact depends on, in the order in which they are made."""

_WITHOUT_EFFECT = {
    "data.max_errors",
    "data.shard_megabytes",
    # How an engine is fed and reached, not what it says.
    *(f"corpus.engine.{key}" for key in ("token_budget", "batch_size", "num_connections")),
    *(f"corpus.engine.{key}" for key in ("url", "timeout", "key_variable")),
}

INPUTS: dict[str, tuple[str, ...]] = {
    "images": (),
    "corpus": ("images",),
    "pairs": ("images", "corpus"),
    "texts": ("pairs",),
    "classifier": ("images",),
    "cam_net": ("images", "pairs", "texts", "classifier"),
    "baseline_cams": ("images", "classifier"),
    "cams": ("images", "cam_net"),
    "baseline_scores": ("images", "classifier", "baseline_cams"),
    "scores": ("images", "cam_net", "cams"),
}
"""Artifacts that each artifact is made from."""


JOBS: dict[str, str] = {
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
"""The script that makes each artifact."""


def recipe(experiment: Experiment, name: str) -> Tree:
    """Dotted keys and values that the artifact `name` depends on."""
    sections = (*RECIPES[name], *_chosen_by(experiment, name))
    return {
        # No worker but this process is one worker.
        key: max(1, value) if key == _WORKERS else value
        for key, value in flatten(experiment.plain())
        if key not in _WITHOUT_EFFECT
        and any(key == section or key.startswith(f"{section}.") for section in sections)
    }


def _chosen_by(experiment: Experiment, name: str) -> tuple[str, ...]:
    """Keys of the scores by which the best weights of a training were chosen."""
    fits = {"train.classifier": experiment.train.classifier, "train": experiment.train.ritc}
    chosen = any(fits[key].keep == "best" for key in RECIPES[name] if key in fits)
    return ("cams", "evaluate.thresholds", "evaluate.names") if chosen else ()
