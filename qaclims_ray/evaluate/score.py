"""Scores of CAMs: confusion counts of rows, and what is reported of their sum."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from qaclims_ray.config import Experiment
from qaclims_ray.data.images import decode_mask
from qaclims_ray.evaluate.confusion import (
    best_threshold,
    false_foreground,
    false_negatives,
    false_positives,
    iou,
    mean_iou,
    precision,
    recall,
    sweep,
)
from qaclims_ray.types import CamRow

SCORES = "scores.json"

Counts = Int[np.ndarray, "T K K"]


class Scores(TypedDict):
    """Content of `scores.json`; shares are in [0, 1], classes in order, background first."""

    num_images: int
    settings: dict[str, Any]
    """What the scores depend on: split, scales, activation, resolution, refinement."""
    class_names: list[str]
    thresholds: list[float]
    miou: list[float]
    """At each threshold."""
    best: dict[str, Any]
    """At the threshold of the highest mIoU, which the ground truth chose."""
    fixed: dict[str, Any]
    """At `evaluate.threshold`, or the threshold nearest to it."""


def full_size(row: CamRow) -> Float[np.ndarray, "N H W"]:
    """An image's CAMs at the size of the image (bilinear, as the published strided maps are)."""
    shape = (len(row["classes"]), row["cam_height"], row["cam_width"])
    cams = np.frombuffer(row["cam"], np.float16).reshape(shape).astype(np.float32)
    size = (row["height"], row["width"])
    if shape[1:] == size or not row["classes"]:
        return np.resize(cams, (shape[0], *size))
    return F.interpolate(torch.from_numpy(cams)[None], size, mode="bilinear")[0].numpy()


def count(
    rows: Sequence[CamRow],
    masks: Mapping[str, bytes],
    thresholds: Sequence[float],
    num_classes: int,
) -> Counts:
    """Confusion counts of some images at all thresholds.

    Args:
        rows: CAMs.
        masks: Encoded ground truth of each image, by name.
        thresholds: Background scores.
        num_classes: Background excluded.
    """
    total = np.zeros((len(thresholds), num_classes + 1, num_classes + 1), np.int64)
    for row in rows:
        truth = decode_mask(masks[row["name"]])
        total += sweep(full_size(row), row["classes"], truth, thresholds, num_classes)
    return total


def report_scores(
    counts: Counts,
    experiment: Experiment,
    class_names: Sequence[str],
    num_images: int,
    *,
    scored: str,
) -> Scores:
    """What is reported of the summed counts of all images.

    Args:
        counts: At `experiment.evaluate.thresholds`.
        experiment: The run.
        class_names: Background excluded.
        num_images: That were counted.
        scored: What the counts are of, such as `cams`.
    """
    thresholds = experiment.evaluate.thresholds
    best, _ = best_threshold(counts, thresholds)
    wanted = experiment.evaluate.threshold
    nearest = min(thresholds, key=lambda threshold: abs(threshold - wanted))
    at = {threshold: counts[index] for index, threshold in enumerate(thresholds)}
    return Scores(
        num_images=num_images,
        settings=_settings(experiment, scored),
        class_names=["background", *class_names],
        thresholds=list(thresholds),
        miou=[round(float(value), 6) for value in mean_iou(counts)],
        best=_figures(best, at[best]),
        fixed=_figures(nearest, at[nearest]),
    )


def _settings(experiment: Experiment, scored: str) -> dict[str, Any]:
    return {
        "data": experiment.data.kind,
        "split": getattr(experiment.data, "split", None),
        "scored": scored,
        "scales": list(experiment.cams.scales),
        "flips": True,
        "activation": experiment.cams.activation,
        "resolution": experiment.cams.resolution,
        "refinement": "none",
        "crf": False,
    }


def _figures(threshold: float, confusion: Int[np.ndarray, "K K"]) -> dict[str, Any]:
    per_class = {
        "iou": iou,
        "precision": precision,
        "recall": recall,
        "false_positives": false_positives,
        "false_negatives": false_negatives,
    }
    return {
        "threshold": threshold,
        "miou": float(mean_iou(confusion)),
        "false_foreground": float(false_foreground(confusion)),
        **{name: _plain(function(confusion)) for name, function in per_class.items()},
    }


def _plain(values: Float[np.ndarray, "K"]) -> list[float | None]:
    """JSON knows no nan: a class that is nowhere has no score."""
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
