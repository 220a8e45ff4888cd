"""Answers written by hand, looked up by the question alone."""

from collections.abc import Sequence

from qaclims_ray.config.corpus import Table
from qaclims_ray.corpus.engines.base import UnequalImages


class TableEngine:
    """Gives each question the same answer about every image: a baseline without a VQA model."""

    def __init__(self, section: Table) -> None:
        self._answers = section.answers

    def answer(
        self, images: UnequalImages, questions: Sequence[Sequence[str]], *, names: Sequence[str]
    ) -> list[list[str]]:
        """See `Engine`. Raises ValueError for a question that the table lacks."""
        unknown = {question for asked in questions for question in asked} - self._answers.keys()
        if unknown:
            raise ValueError(
                f"the answer table (corpus.engine.answers) has no answer to {min(unknown)!r}, one "
                f"of {len(unknown)} such questions: add it, spelled exactly so"
            )
        return [[self._answers[question] for question in asked] for asked in questions]
