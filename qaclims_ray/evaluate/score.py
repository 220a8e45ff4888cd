"""What is reported of the counts of all images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike
from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.rows import Tally, dense
from qaclims_ray.evaluate.settings import cam_settings, label_map_settings, settings_of
from qaclims_ray.metrics.bootstrap import interval, resample
from qaclims_ray.metrics.confusion import (
    Absent,
    Overlap,
    best_threshold,
    false_foreground,
    false_negatives,
    false_positives,
    iou,
    mean,
    mean_iou,
    precision,
    recall,
)
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.storage.records import require_record

SCORES = "scores.json"
_BATCH = 256


class Figures(TypedDict):
    """Scores at one threshold: shares in [0, 1], null where there is nothing of nothing.

    `iou` to `false_negatives` have an entry per class.
    """

    threshold: float
    """0 for label maps, which need none."""
    miou: float
    """Over the classes, background included, as `evaluate.absent_classes` says."""
    mean_boundary_iou: float
    """The same for the bands along boundaries (Cheng et al. 2021)."""
    mean_precision: float | None
    """Over the object classes."""
    mean_recall: float | None
    """Over the object classes."""
    false_foreground: float | None
    """Share of the pixels taken for an object that are background."""
    iou: list[float | None]
    boundary_iou: list[float | None]
    precision: list[float | None]
    recall: list[float | None]
    false_positives: list[float | None]
    false_negatives: list[float | None]
    intervals: dict[str, Any]
    """95 % bootstrap intervals over images, [low, high], of the five means and of each `iou`. The
    threshold is the same in all replicates: that it was chosen is not part of the doubt. Each holds
    the figure itself."""


class Scores(TypedDict):
    """Content of `scores.json`; classes are in order, background first."""

    num_images: int
    settings: dict[str, Any]
    """What the scores depend on: split, scales, activation, resolution, refinement; and how many of
    the images could not be read, which no score has."""
    class_names: list[str]
    thresholds: list[float]
    """Empty for label maps."""
    miou: list[float]
    """mIoU at each threshold."""
    best: Figures
    """Figures at the threshold of the highest mIoU, which the ground truth chose."""
    fixed: Figures
    """Figures at `evaluate.threshold`, or the threshold nearest to it."""


def read_scores(scores: Artifact) -> Scores:
    """Read the scores of a complete artifact of them; a damaged file is a ValueError."""
    return require_record(f"{scores.uri}/{SCORES}", Scores)


def report_scores(
    tallies: Iterable[Tally], experiment: Experiment, class_names: Sequence[str], *, scored: str
) -> Scores:
    """What is reported of CAMs.

    Args:
        tallies: Of each image at `experiment.evaluate.thresholds`, in an order that is always the
            same, as draws of the bootstrap follow it; gone through twice, since only the sum over
            all images says which threshold is best.
        experiment: The run.
        class_names: Background excluded.
        scored: What the counts are of, such as `cams`.
    """
    thresholds, num_classes = experiment.evaluate.thresholds, len(class_names)
    absent = experiment.evaluate.absent_classes
    total, num_images = _sum(tallies, len(thresholds), num_classes)
    best, _ = best_threshold(total, thresholds, absent)
    wanted = experiment.evaluate.threshold
    fixed = min(thresholds, key=lambda threshold: abs(threshold - wanted))
    ranks = {threshold: thresholds.index(threshold) for threshold in (best, fixed)}
    figures = _figures(tallies, num_classes, ranks, absent)
    return Scores(
        num_images=num_images,
        settings=settings_of(experiment, scored) | cam_settings(experiment, scored),
        class_names=["background", *class_names],
        thresholds=list(thresholds),
        miou=[round(float(value), 6) for value in mean_iou(total, absent)],
        best=figures[best],
        fixed=figures[fixed],
    )


def report_label_maps(
    tallies: Iterable[Tally], experiment: Experiment, class_names: Sequence[str], *, scored: str
) -> Scores:
    """Report the scores of label maps: those of `report_scores`, without thresholds."""
    absent = experiment.evaluate.absent_classes
    figures = _figures(tallies, len(class_names), {0.0: 0}, absent)[0.0]
    return Scores(
        num_images=sum(1 for _ in tallies),
        settings=settings_of(experiment, scored) | label_map_settings(experiment, scored),
        class_names=["background", *class_names],
        thresholds=[],
        miou=[],
        best=figures,
        fixed=figures,
    )


def _sum(
    tallies: Iterable[Tally], num_thresholds: int, num_classes: int
) -> tuple[Int[np.ndarray, "T K K"], int]:
    """Confusion matrices of all images together, and the number of images."""
    total = np.zeros((num_thresholds, num_classes + 1, num_classes + 1), np.int64)
    num_images = 0
    for one in tallies:
        total[:, one.classes[:, None], one.classes] += one.areas
        num_images += 1
    return total, num_images


def _figures(
    tallies: Iterable[Tally], num_classes: int, ranks: Mapping[float, int], absent: Absent
) -> dict[float, Figures]:
    """Figures at some thresholds, whose ranks are given."""
    total = np.zeros((len(ranks), 2, 3, num_classes + 1), np.int64)

    def batches() -> Iterator[Int[np.ndarray, "B V"]]:
        remaining = iter(tallies)
        while batch := list(islice(remaining, _BATCH)):
            counts = np.stack([dense(one, num_classes, list(ranks.values())) for one in batch])
            total[:] += counts.sum(axis=0)
            yield counts.reshape(len(batch), -1)

    samples = resample(batches()).reshape(-1, *total.shape)
    return {
        threshold: _at(threshold, total[i], samples[:, i], absent)
        for i, threshold in enumerate(ranks)
    }


def _at(
    threshold: float,
    counts: Int[np.ndarray, "2 3 K"],
    samples: Float[np.ndarray, "R 2 3 K"],
    absent: Absent,
) -> Figures:
    area, boundary = _overlaps(counts)
    sampled_area, sampled_boundary = _overlaps(samples)
    values = {**_means(area, boundary, absent), "iou": iou(area)}
    sampled = {**_means(sampled_area, sampled_boundary, absent), "iou": iou(sampled_area)}
    return Figures(
        threshold=threshold,
        miou=_plain(values["miou"]),
        mean_boundary_iou=_plain(values["mean_boundary_iou"]),
        mean_precision=_plain(values["mean_precision"]),
        mean_recall=_plain(values["mean_recall"]),
        false_foreground=_plain(values["false_foreground"]),
        iou=_plain(values["iou"]),
        boundary_iou=_plain(iou(boundary)),
        precision=_plain(precision(area)),
        recall=_plain(recall(area)),
        false_positives=_plain(false_positives(area)),
        false_negatives=_plain(false_negatives(area)),
        intervals={name: _plain(interval(one, values[name]).T) for name, one in sampled.items()},
    )


def _means(area: Overlap, boundary: Overlap, absent: Absent) -> dict[str, Float[np.ndarray, "*R"]]:
    return {
        "miou": mean_iou(area, absent),
        "mean_boundary_iou": mean_iou(boundary, absent),
        "mean_precision": mean(precision(area)[..., 1:]),
        "mean_recall": mean(recall(area)[..., 1:]),
        "false_foreground": false_foreground(area),
    }


def _overlaps(counts: Num[np.ndarray, "*R 2 3 K"]) -> tuple[Overlap, Overlap]:
    """Split counts into the overlap of areas and that of boundaries."""
    hits, predicted, true = np.moveaxis(counts, -2, 0)
    area, boundary = (
        Overlap(hits[..., kind, :], predicted[..., kind, :], true[..., kind, :]) for kind in (0, 1)
    )
    return area, boundary


def _plain(values: ArrayLike) -> Any:
    """Nested lists, rounded; JSON knows no nan: what is undefined is null."""
    values = np.asarray(values)
    if values.ndim:
        return [_plain(value) for value in values]
    return None if np.isnan(values) else round(float(values), 6)
