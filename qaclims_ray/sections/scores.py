"""The sections `cams` and `evaluate`: class activation maps and their scores."""

from typing import Literal

from pydantic import PositiveFloat, model_validator

from qaclims_ray.sections.base import Fraction, Section


class Cams(Section):
    """Class activation maps of every image."""

    scales: tuple[PositiveFloat, ...] = (1.0, 0.5, 1.5, 2.0)
    """Image scales; each also flipped; maps are summed."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """On the logits before fusion. Published: relu."""
    resolution: Literal["strided", "full"] = "strided"
    """strided: (side - 1) // 4 + 1 cells; full: one per pixel (16 times the size). Measured on the
    demo's 600 images, mIoU in points, full less strided, with 95 % paired intervals: at each one's
    best threshold +0.1 [0.0, 0.2] (baseline 0.0 [-0.1, 0.0]); at the fixed 0.15 -1.1 [-1.2, -1.0]
    (baseline +0.1 [0.1, 0.1]). Finer maps have a higher maximum to be divided by, so that the best
    threshold sinks (0.05 to 0.03): choose it anew."""


class Evaluate(Section):
    """Scores of CAMs against the ground truth."""

    thresholds: tuple[Fraction, ...] = tuple(round(0.01 * i, 2) for i in range(1, 100))
    """Background scores to try, all in one pass; ascending."""
    threshold: Fraction = 0.15
    """Background score of the fixed-threshold figures (the published default)."""
    names: str | None = None
    """File or URL of a list of the images to score, each with ground truth, one name a line; null:
    all that have it.
    Read when the scores are made: after a change of the file, pass --overwrite."""
    stream: bool = False
    """Score CAMs as they are made and write none of them. The numbers are the same."""

    @model_validator(mode="after")
    def _check_order(self) -> "Evaluate":
        if not self.thresholds or list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError("thresholds: at least one, each greater than the one before it")
        return self
