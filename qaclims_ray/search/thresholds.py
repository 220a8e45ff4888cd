"""Thresholds of seeds and pseudo masks, chosen from counts on some images, reported on others."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from typing_extensions import TypedDict

from qaclims_ray.metrics.confusion import mean_iou
from qaclims_ray.search.sweep import SeedCounts, seed_overlap

SEEDS, MASKS = "seeds.json", "masks.json"
PUBLISHED_SEEDS = (0.3, 0.1)
"""Thresholds of the published seeds: foreground, background."""
PUBLISHED_MASKS = 0.2
"""Background score of the published masks."""


class SeedScore(TypedDict):
    """Seeds at one pair of thresholds; shares in [0, 1]."""

    foreground: float
    background: float
    coverage: float
    """Share of the pixels that are labelled."""
    miou: float
    """Over the labelled pixels."""


class MaskScore(TypedDict):
    """Pseudo masks at one background score."""

    background: float
    miou: float


class Setting(TypedDict):
    """How label maps were made, and of how many images."""

    kind: str
    """`refine.seeds.kind` or `refine.masks.kind`."""
    num_choosing: int
    """Images that chose."""
    num_held_out: int
    """Images that are reported."""


class SeedChoice(Setting):
    """The result of a search for the thresholds of seeds."""

    min_coverage: float
    choosing: SeedScore
    """The chosen pair, on the images that chose it."""
    held_out: SeedScore
    """The same pair on the others."""
    published: SeedScore
    """The published pair 0.30, 0.10 on those others."""
    front: list[SeedScore]
    """Pairs that no other pair beats in both coverage and mIoU, on the images that chose."""


class MaskChoice(Setting):
    """The result of a search for the background score of pseudo masks."""

    choosing: MaskScore
    """The chosen score, on the images that chose it."""
    held_out: MaskScore
    """The same score on the others."""
    published: MaskScore
    """The published score 0.2 on those others."""
    thresholds: list[float]
    curve: list[float]
    """mIoU at each of them on the choosing images."""


def choose_seeds(
    choosing: SeedCounts,
    held_out: SeedCounts,
    thresholds: Sequence[float],
    min_coverage: float,
    setting: Setting,
) -> SeedChoice:
    """Choose the pair of thresholds with the highest mIoU of those that label enough.

    Args:
        choosing: Counts of the images that choose.
        held_out: Counts of those that are reported.
        thresholds: Ascending; the published ones are among them.
        min_coverage: Least share of labelled pixels among the choosing images.
        setting: Part of the result.
    """
    scores = seed_scores(choosing, thresholds)
    others = {_pair(score): score for score in seed_scores(held_out, thresholds)}
    enough = [score for score in scores if score["coverage"] >= min_coverage]
    best = max(enough, key=lambda score: score["miou"])
    return SeedChoice(
        **setting,
        min_coverage=min_coverage,
        choosing=best,
        held_out=others[_pair(best)],
        published=others[PUBLISHED_SEEDS],
        front=front(scores),
    )


def choose_masks(
    choosing: Int[np.ndarray, "T K K"],
    held_out: Int[np.ndarray, "T K K"],
    thresholds: Sequence[float],
    setting: Setting,
) -> MaskChoice:
    """Choose the background score with the highest mIoU; the first of equal ones.

    Args:
        choosing: Confusion matrices of the images that choose.
        held_out: Confusion matrices of those that are reported.
        thresholds: Background scores; the published one is among them.
        setting: Part of the result.
    """
    curve, others = mean_iou(choosing).tolist(), mean_iou(held_out).tolist()
    best, published = int(np.argmax(curve)), thresholds.index(PUBLISHED_MASKS)
    return MaskChoice(
        **setting,
        choosing=MaskScore(background=thresholds[best], miou=curve[best]),
        held_out=MaskScore(background=thresholds[best], miou=others[best]),
        published=MaskScore(background=PUBLISHED_MASKS, miou=others[published]),
        thresholds=list(thresholds),
        curve=curve,
    )


def seed_scores(counts: SeedCounts, thresholds: Sequence[float]) -> list[SeedScore]:
    """Score the seeds of all pairs of thresholds whose background is at most the foreground.

    Args:
        counts: Counts at these thresholds.
        thresholds: Ascending.
    """
    pairs = seed_overlap(counts)
    coverage = pairs.predicted.sum(-1) / counts.labellings[0].sum()
    miou = mean_iou(pairs)
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


def front(scores: Sequence[SeedScore]) -> list[SeedScore]:
    """Keep the scores that no other beats in coverage or mIoU without losing in the other one.

    They come by falling coverage, and so by rising mIoU.
    """
    kept: list[SeedScore] = []
    for score in sorted(scores, key=lambda score: (-score["coverage"], -score["miou"])):
        if not kept or score["miou"] > kept[-1]["miou"]:
            kept.append(score)
    return kept


def seeds_line(found: SeedChoice, uri: str) -> str:
    """Summarise a search for the thresholds of seeds in a line."""
    best, published = found["held_out"], found["published"]
    return (
        f"seeds ({found['kind']}): foreground above {best['foreground']:g}, background below "
        f"{best['background']:g}: mIoU {100 * best['miou']:.1f} on the "
        f"{100 * best['coverage']:.1f}% of held-out pixels that are labelled, at the published "
        f"thresholds {100 * published['miou']:.1f} on {100 * published['coverage']:.1f}% · {uri}"
    )


def masks_line(found: MaskChoice, uri: str) -> str:
    """Summarise a search for the background score of pseudo masks in a line."""
    best, published = found["held_out"], found["published"]
    return (
        f"masks ({found['kind']}): background score {best['background']:g}: mIoU "
        f"{100 * best['miou']:.1f} on held-out images, at the published score "
        f"{100 * published['miou']:.1f} · {uri}"
    )


def _pair(score: SeedScore) -> tuple[float, float]:
    return score["foreground"], score["background"]
