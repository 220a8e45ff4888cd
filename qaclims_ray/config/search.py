"""The section `tune`: which keys a search varies, and how."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt

from qaclims_ray.config.base import Fraction, Section

Domain: TypeAlias = dict[
    Literal["uniform", "log_uniform", "int", "choice", "grid"], tuple[Any, ...]
]
"""Kind and values: what a search may draw for a key."""
Metric: TypeAlias = Literal["miou", "fixed_miou", "precision", "recall"]


class Refine(Section):
    """A search for the thresholds of seeds and masks, over CAMs that are there: no training."""

    min_coverage: Fraction = 0.6
    """Of the pairs of seed thresholds that label at least this share of the pixels, the one whose
    labels have the highest mIoU is chosen."""
    walk: bool = True
    """Also choose the background score of the random walk."""
    irn: str | None = None
    """File or URL of the boundary network whose boundaries hold the walk back
    (`jobs/import_published.py --irn` makes one of a published checkpoint). Null: colour does."""


class Tune(Section):
    """A search: which keys are varied, and how trials are chosen, stopped and compared."""

    space: dict[str, Domain] = {}
    """For each dotted key the values to try: `{uniform: [low, high]}`, `{log_uniform:
    [low, high]}`, `{int: [low, high]}` (both included), `{choice: [a, b, …]}`, or
    `{grid: [a, b, …]}`, whose combinations are gone through in order. What decides an artifact
    that trials share (images, corpus, texts, classifier) cannot be searched; thresholds need
    not be."""
    num_trials: PositiveInt = 20
    """How many; of a grid, its size or a multiple."""
    searcher: Literal["random", "optuna"] = "random"
    """optuna: a tree-structured Parzen estimator learns from the trials before
    (`pip install 'qaclims_ray[tune]'`). BOHB is left out: hpbandster, which it needs, had its last
    release in 2018."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """asha: trials that lag behind at epochs 1, 2, 4, … times `grace_epochs` are stopped. pbt: they
    go on from the weights of better ones with other values, every `grace_epochs` epochs; needs
    trials in their own process (`compute.train.num_workers: 0`)."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("miou",)
    """What is maximised on the choosing images: mIoU at the threshold that is best for the trial,
    or at `evaluate.threshold` (`fixed_miou`); mean precision or recall of the objects at that best
    threshold. Of several, optuna looks for the trials that no other beats in all (their Pareto
    front), from which the finalists are taken; the first metric orders them, and decides what a
    scheduler stops."""
    grace_epochs: PositiveInt = 1
    """Epochs that every trial gets."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """Of asha: one in so many trials goes on at each halt."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the images with ground truth whose masks the search never looks at; they are
    reported."""
    seed: NonNegativeInt = 0
    """Of what is drawn, and of which images are held out."""
    num_finalists: PositiveInt = 3
    """The best trials, which are compared with the configuration's own values over `seeds`; the
    winner has the highest mIoU on the choosing images, averaged over seeds."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1, 2)
    """`train.seed` of the comparison."""
    refine: Refine | None = None
    """Also choose the thresholds of seeds and masks; null: don't."""
