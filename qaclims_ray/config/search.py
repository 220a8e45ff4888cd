"""The section `tune`: which keys a search varies, and how."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from qaclims_ray.config.base import Fraction, Section

Domain: TypeAlias = dict[
    Literal["uniform", "log_uniform", "int", "choice", "grid"], tuple[Any, ...]
]
"""Kind and values: what a search may draw for a key."""
Metric: TypeAlias = Literal["miou", "fixed_miou", "precision", "recall"]


_TRIED = tuple(round(0.05 * step, 2) for step in range(1, 17))


class Refine(Section):
    """A search for the thresholds of seeds and masks, over CAMs that are there: no training.

    Label maps are those that `refine.seeds` and `refine.masks` make, by their `kind`.
    """

    seeds: tuple[Fraction, ...] = _TRIED
    """Values to try for `refine.seeds.foreground` and `.background`, beside the published 0.3 and
    0.1: all pairs. PAR and the CRF take one pass over the images for each. Empty: seeds are not
    searched."""
    masks: tuple[Fraction, ...] = _TRIED
    """Values to try for `refine.masks.background`, beside the published 0.2. The random walk takes
    one pass for all, PAR one for each. Empty: masks are not searched."""
    num_images: PositiveInt | None = None
    """So many images at most choose, and so many others are reported; null: all that have ground
    truth."""
    min_coverage: Fraction = 0.6
    """Of the pairs of seed thresholds that label at least this share of the pixels, the one whose
    labels have the highest mIoU is chosen."""


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
    scheduler: Literal["none", "asha"] = "none"
    """asha: trials that lag behind at epochs 1, 2, 4, … times `grace_epochs` are stopped."""
    metric: Metric = "miou"
    """Score of a trial on the selection images, which is maximised: mIoU at the threshold that is
    best for the trial, or at `evaluate.threshold` (`fixed_miou`); mean precision or recall of the
    objects at that best threshold."""
    grace_epochs: PositiveInt = 1
    """Epochs that every trial gets."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """asha lets one in so many trials go on at each halt."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the images with ground truth that are held out: the search never looks at their
    masks, and reports their scores. The others are the selection images, by which it selects."""
    seed: NonNegativeInt = 0
    """Seed of the values that are drawn, and of the images that are held out."""
    num_finalists: PositiveInt = 3
    """The best trials, which are compared with the configuration's own values over `seeds`; the
    winner has the highest mIoU on the selection images, averaged over seeds."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1, 2)
    """Values of `train.seed` that the comparison trains with."""
    refine: Refine | None = None
    """Also choose the thresholds of seeds and masks, over `cams` (and `irn`); null: do not."""

    @field_validator("scheduler", mode="before")
    @classmethod
    def _check_scheduler(cls, scheduler: Any) -> Any:
        if scheduler == "pbt":
            raise ValueError(
                "population based training is no longer offered: set scheduler: asha, which stops "
                "the trials that lag behind"
            )
        return scheduler
