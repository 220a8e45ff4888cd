"""Images that a chat model can take: shrunk to its `max_side`, the others named before it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from qaclims_ray.config.corpus import ImageBounds
from qaclims_ray.corpus.answers import Reply
from qaclims_ray.corpus.engines.base import Engine, UnequalImages
from qaclims_ray.images.transforms import shrink
from qaclims_ray.storage.errors import attempt
from qaclims_ray.types import Image


class Bounded:
    """An engine that gets images within bounds alone, so that no other one fails their batch."""

    def __init__(self, engine: Engine, section: ImageBounds) -> None:
        self.engine = engine
        self._section = section

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[Sequence[Reply] | ValueError]:
        """See `Engine`. An image out of bounds gets its error and is not shown to the engine."""
        bounded = [
            attempt(bound, image, self._section) if asked else image
            for image, asked in zip(images, questions, strict=True)
        ]
        good = {at: one for at, one in enumerate(bounded) if not isinstance(one, ValueError)}
        answers = iter(
            self.engine.answer(
                list(good.values()),
                [questions[at] for at in good],
                names=[names[at] for at in good],
            )
            if good
            else ()
        )
        return [one if isinstance(one, ValueError) else next(answers) for one in bounded]


def bound(image: Image, section: ImageBounds) -> UInt8[np.ndarray, "_ _ 3"]:
    """Shrink an image to `max_side`.

    Raises:
        ValueError: it is then below the model's smallest side, or beyond its aspect ratio.
    """
    shown = shrink(image, section.max_side)
    height, width = shown.shape[:2]
    short, long = sorted((height, width))
    if short < section.min_side:
        raise ValueError(
            f"{width}x{height} pixels are too few for the model that answers: "
            f"corpus.engine.min_side is {section.min_side}"
        )
    if long > section.max_aspect_ratio * short:
        raise ValueError(
            f"{width}x{height} pixels are too long for the model that answers: "
            f"corpus.engine.max_aspect_ratio is {section.max_aspect_ratio:g}"
        )
    return shown
