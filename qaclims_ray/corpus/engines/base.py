"""The interface of visual-question-answering engines."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from qaclims_ray.corpus.answers import Reply

UnequalImages: TypeAlias = Sequence[UInt8[np.ndarray, "_ _ 3"]]
"""RGB images, 0 to 255, each of its own height and width."""


@runtime_checkable
class Engine(Protocol):
    """Answers many questions about many images in one call.

    An actor with a GPU calls it from two threads: while the device answers about one batch, the
    engine prepares the next one, up to its copy on the device, and hands on the last one's answers.
    """

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> Sequence[Sequence[Reply] | ValueError]:
        """Answer all questions about a batch of images.

        Args:
            images: RGB pixels.
            questions: Questions about each image, class names filled in.
            names: Names of the images, for engines that look answers up.

        Returns:
            For each image the replies to its questions in their order, each an answer or a
            `NoAnswer`; or what is wrong with the image.

        Raises:
            Exception: a question of the batch can't be answered, and the engine can't tell about
                which image; `run.faults.IsolatedMap` finds out.
            StageError: the fault is no image's.
        """
        ...
