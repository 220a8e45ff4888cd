"""The section `segment`: what a trained segmenter predicts, and how."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from qaclims_ray.config.base import Section


class Segment(Section):
    """Label maps of images by the trained segmenter; no image labels are used."""

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)
    """Image scales; probabilities are averaged."""
    flip: bool = True
    """Average over each image and its mirror image too."""
    window: PositiveInt | None = None
    """Side of the square windows that larger images are gone through in, in pixels; null: whole
    images."""
    overlap: NonNegativeInt = 128
    """Pixels that neighbouring windows share."""
    refine: Literal["none", "par", "crf"] = "none"
    """Refinement of the probabilities: pixel-adaptive (par) or dense CRF (crf, with the settings of
    DeepLab: 10 iterations; needs `pip install 'qaclims_ray[crf]'`)."""
