"""Keys of the configuration that once had another name.

An old key in a file or an override is an error that names the new one; what a run of before says of
its artifacts is still understood.
"""

from collections.abc import Mapping
from typing import Any

_OF_TRAININGS = {
    "images_per_worker": "batch_size_per_worker",
    "accumulate": "gradient_accumulation",
    "fix_batch_norm": "freeze_batch_norm",
    "optimiser.head_factor": "optimiser.head_lr_multiplier",
}

RENAMED = {
    **{
        f"train.{training}.{old}": f"train.{training}.{new}"
        for training in ("classifier", "ritc")
        for old, new in _OF_TRAININGS.items()
    },
    "tune.metrics": "tune.metric",
    "tune.refine.walk": "tune.refine.masks",
    "tune.refine.irn": "refine.masks.kind",
    "compute.train.checkpoint_activations": "compute.train.activation_checkpointing",
    "compute.train.loader_processes": "compute.train.num_loader_workers",
}
"""Dotted keys of before, and what they are called now."""


ADDED: dict[str, Any] = {
    **{f"train.{training}.augment.scale": None for training in ("classifier", "ritc")},
    **{
        f"train.{training}.batch_norm_statistics": "batch"
        for training in ("classifier", "ritc", "irn", "segmenter")
    },
    "train.classifier.balance": "none",
    "train.ritc.loss.clip_cams": 0.0,
    "evaluate.absent_classes": "zero",
    "cams.resize": "normalised",
    "corpus.wordnet": None,
    "data.max_side": None,
    "new_images.max_side": None,
    "data.corrections": None,
    "new_images.corrections": None,
    "data.labels": "file",
    "new_images.labels": "file",
}
"""Dotted keys that came later, and the value that means what was done before."""


def current_keys(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe, dotted keys and their values, with the keys that it would have now."""
    renamed = {RENAMED.get(key, key): value for key, value in recipe.items()}
    parts = [key.split(".")[:-1] for key in renamed]
    sections = {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}
    added = {key: value for key, value in ADDED.items() if key.rpartition(".")[0] in sections}
    if "cams.scales" not in renamed:  # of a frozen CLIP, which resizes pixels anyway
        added.pop("cams.resize", None)
    for data in ("data", "new_images"):
        if renamed.get(f"{data}.kind") != "folder":
            added.pop(f"{data}.labels", None)
    return added | renamed
