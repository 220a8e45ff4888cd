"""The sections `cams` and `evaluate`: class activation maps and their scores."""

from typing import Literal

from pydantic import model_validator

from qaclims_ray.config.base import Fraction, Section


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

    unsure: Literal["background", "ignore"] = "background"
    """What the value 255 of predicted label maps, such as seeds, counts as. background: as in the
    published code. ignore: pixels that are not decided are not counted, and the score states the
    share of those that are."""
    absent_classes: Literal["zero", "skip"] = "zero"
    """What mIoU makes of a class that is predicted but true nowhere. zero: an IoU of 0, as in the
    published code. skip: it is left out, so that mIoU is over classes with truth only."""

    @model_validator(mode="after")
    def _check_order(self) -> "Evaluate":
        if not self.thresholds or list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError("thresholds: at least one, each greater than the one before it")
        return self
