"""The section `refine`: from CAMs to seeds, and from seeds to pseudo masks."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from qaclims_ray.config.base import Fraction, Section


class Seeds(Section):
    """Seeds: pixels that are surely an object or surely background; all others are 255."""

    kind: Literal["par", "crf", "none"] = "par"
    """How CAMs are refined. par: pixel-adaptive refinement (plain torch, CPU or GPU). crf: the
    dense CRF as published (needs `pip install 'qaclims_ray[crf]'`). none: the CAMs as they are."""
    foreground: Fraction = 0.3
    """Pixels are an object where a CAM exceeds this background score."""
    background: Fraction = 0.1
    """Pixels are background where no CAM exceeds this background score."""
    steps: PositiveInt = 10
    """Iterations of either refinement."""

    @model_validator(mode="after")
    def _check_order(self) -> "Seeds":
        if self.background > self.foreground:
            raise ValueError(
                f"background: {self.background} is more than foreground: {self.foreground}"
            )
        return self


class Masks(Section):
    """Pseudo masks: a label for every pixel, which the segmenter learns from."""

    kind: Literal["irn", "par", "none"] = "irn"
    """irn: the random walk of CAMs, held back by the boundary network's boundaries. par: CAMs by
    pixel-adaptive refinement, which needs no boundary network. none: the CAMs as they are."""
    background: Fraction = 0.2
    """Background score, a share of the image's highest score. Published: 0.2 for VOC; CLIMS takes
    0.25 for COCO."""
    radius: PositiveInt = 5
    """irn: paths of the walk reach this far, in cells of 4 pixels."""
    beta: PositiveFloat = 10.0
    """irn: exponent of the affinities."""
    exp_times: NonNegativeInt = 8
    """irn: the walk takes 2 to the power of this many steps."""
    steps: PositiveInt = 10
    """par: iterations."""


class Refine(Section):
    """Refinement of CAMs."""

    seeds: Seeds = Seeds()
    masks: Masks = Masks()
