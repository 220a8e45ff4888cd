"""Thresholds of seeds, chosen from counts that the scores of CAMs hold already.

A seed is foreground where its CAM exceeds one threshold, background where none exceeds a lower one,
and unlabelled between. The confusion matrices of CAMs at both thresholds hold all of that: columns
of objects at the upper, the column of the background at the lower. So all pairs of thresholds cost
no pass over any pixel. Seeds through the dense CRF would need a pass for each pair.
"""

from collections.abc import Sequence
from typing import TypedDict, cast

import numpy as np
from jaxtyping import Float, Int

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.search import Refine
from qaclims_ray.evaluate.rows import ScoreRow, unpack
from qaclims_ray.metrics.confusion import Overlap, mean_iou, overlap
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import dataset
from qaclims_ray.search.holdout import Split
from qaclims_ray.search.rows import on_front
from qaclims_ray.storage.files import write_json
from qaclims_ray.storage.paths import absolute
from qaclims_ray.types import BACKGROUND

_BATCH = 256


class SeedScore(TypedDict):
    """Seeds at one pair of thresholds; shares in [0, 1]."""

    foreground: float
    background: float
    coverage: float
    """Share of the pixels that are labelled."""
    miou: float
    """Over the labelled pixels."""


class SeedChoice(TypedDict):
    """What a search for the thresholds of seeds found."""

    min_coverage: float
    choosing: SeedScore
    """The chosen pair, on the images that chose it."""
    held_out: SeedScore
    """The same pair on the others."""
    published: SeedScore
    """The published pair 0.30, 0.10 (or the nearest to it) on those others."""
    front: list[SeedScore]
    """The best pair of each coverage on the choosing images: none has both more of it and a higher
    mIoU."""


SEEDS = "seeds.json"
PUBLISHED = (0.3, 0.1)
"""Thresholds of the published seeds: foreground, background."""


def search_seeds(experiment: Experiment, names: Split, wanted: Refine) -> str:
    """Choose the thresholds of seeds; write `search/seeds.json` and return a summary line.

    Args:
        experiment: Whose CAMs are scored.
        names: Of the images that choose, and of those held out.
        wanted: How.

    Raises:
        ValueError: the CAMs are not scored yet.
    """
    scores = artifact(experiment, "scores")
    scores.require()
    num_classes = len(class_names(artifact(experiment, "images")))
    choosing, held_out = (summed(scores, part, num_classes) for part in names)
    thresholds = experiment.evaluate.thresholds
    found = choose(choosing, held_out, thresholds, wanted.min_coverage)
    folder = f"{absolute(experiment.run)}/search"
    write_json(f"{folder}/{SEEDS}", found)
    best = found["held_out"]
    miou, coverage = (f"{100 * best[name]:.1f}" for name in ("miou", "coverage"))
    return (
        f"seeds: foreground above {best['foreground']:g}, background below "
        f"{best['background']:g}: mIoU {miou} on the {coverage}% of held-out pixels that are "
        f"labelled · {folder}/{SEEDS}"
    )


def seed_scores(
    confusion: Int[np.ndarray, "T K K"], thresholds: Sequence[float]
) -> list[SeedScore]:
    """Scores of all pairs of thresholds whose background is at most the foreground.

    Args:
        confusion: Of CAMs at all thresholds.
        thresholds: Ascending.
    """
    coverage, miou = _all_pairs(confusion)
    return [
        SeedScore(
            foreground=thresholds[upper],
            background=thresholds[lower],
            coverage=float(coverage[upper, lower]),
            miou=float(miou[upper, lower]),
        )
        for upper in range(len(thresholds))
        for lower in range(upper + 1)
    ]


def choose(
    choosing: Int[np.ndarray, "T K K"],
    held_out: Int[np.ndarray, "T K K"],
    thresholds: Sequence[float],
    min_coverage: float,
) -> SeedChoice:
    """The pair of thresholds with the highest mIoU of those that label enough.

    Args:
        choosing: Confusion matrices of the images that choose.
        held_out: Of those that are reported.
        thresholds: Ascending.
        min_coverage: Least share of labelled pixels among the choosing images.
    """
    scores = seed_scores(choosing, thresholds)
    others = {_pair(score): score for score in seed_scores(held_out, thresholds)}
    enough = [score for score in scores if score["coverage"] >= min_coverage]
    best = max(enough, key=lambda score: score["miou"])
    return SeedChoice(
        min_coverage=min_coverage,
        choosing=best,
        held_out=others[_pair(best)],
        published=min(others.values(), key=_distance),
        front=front(scores),
    )


def summed(scores: Artifact, names: Sequence[str], num_classes: int) -> Int[np.ndarray, "T K K"]:
    """Confusion matrices of CAMs at all thresholds, summed over some images.

    Args:
        scores: The complete artifact `scores`.
        names: Of the images, all of them scored.
        num_classes: Background excluded.
    """
    wanted, total = frozenset(names), None
    for batch in dataset(scores).to_batches(batch_size=_BATCH):
        for row in cast(list[ScoreRow], batch.to_pylist()):
            one = unpack(row) if row["name"] in wanted else None
            if one is None:
                continue
            if total is None:
                total = np.zeros((len(one.areas), num_classes + 1, num_classes + 1), np.int64)
            total[:, one.classes[:, None], one.classes] += one.areas
    assert total is not None
    return total


def front(scores: Sequence[SeedScore]) -> list[SeedScore]:
    """Those of which no other has both a higher coverage and a higher mIoU; by falling coverage."""
    best = on_front(np.array([(score["coverage"], score["miou"]) for score in scores]))
    kept = [score for score, good in zip(scores, best, strict=True) if good]
    return sorted(kept, key=lambda score: -score["coverage"])


def _all_pairs(
    confusion: Int[np.ndarray, "T K K"],
) -> tuple[Float[np.ndarray, "T T"], Float[np.ndarray, "T T"]]:
    """Coverage and mIoU for each foreground threshold (rows) and background threshold."""
    background = np.zeros_like(confusion)
    background[..., BACKGROUND] = confusion[..., BACKGROUND]
    parts = zip(overlap(confusion - background), overlap(background), strict=True)
    pairs = Overlap(*(upper[:, None] + lower[None] for upper, lower in parts))
    return pairs.predicted.sum(-1) / confusion[0].sum(), mean_iou(pairs)


def _pair(score: SeedScore) -> tuple[float, float]:
    return score["foreground"], score["background"]


def _distance(score: SeedScore) -> float:
    foreground, background = PUBLISHED
    return abs(score["foreground"] - foreground) + abs(score["background"] - background)
