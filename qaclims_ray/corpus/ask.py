"""One batch of images through a VQA engine: image rows in, corpus rows out."""

from collections.abc import Sequence
from typing import NamedTuple

from qaclims_ray.corpus.questions import (
    BACKGROUND_QUESTIONS,
    FOREGROUND_QUESTIONS,
    ask,
    lemma,
)
from qaclims_ray.corpus.vqa import Engine
from qaclims_ray.data.images import decode
from qaclims_ray.sections import Questions
from qaclims_ray.types import Answer, CorpusRow, ImageRow, Kind


class Question(NamedTuple):
    """A question about one class of an image."""

    label: int
    kind: Kind
    text: str


def questions_about(
    labels: Sequence[int], class_names: Sequence[str], templates: Questions
) -> list[Question]:
    """Every template for every class that the image's labels name; the paper's by default."""
    foreground = templates.foreground or FOREGROUND_QUESTIONS
    background = templates.background or BACKGROUND_QUESTIONS
    kinds: list[tuple[Kind, Sequence[str]]] = [("fg", foreground), ("bg", background)]
    return [
        Question(label, kind, text)
        for label in labels
        for kind, chosen in kinds
        for text in ask(chosen, class_names[label])
    ]


def answer_all(
    rows: Sequence[ImageRow],
    engine: Engine,
    class_names: Sequence[str],
    templates: Questions,
    max_pixels: int,
) -> list[CorpusRow]:
    """Ask the engine everything about a batch of images.

    Returns:
        One row per image: the answers as generated and their lemmas, in the order of questions.
    """
    questions = [questions_about(row["labels"], class_names, templates) for row in rows]
    images = [decode(row["image"], max_pixels=max_pixels) for row in rows]
    answers = engine.answer(images, [[one.text for one in asked] for asked in questions])
    return [
        CorpusRow(
            name=row["name"],
            answers=[
                Answer(
                    label=one.label,
                    kind=one.kind,
                    question=one.text,
                    answer=said,
                    lemma=lemma(said),
                )
                for one, said in zip(asked, answered, strict=True)
            ],
        )
        for row, asked, answered in zip(rows, questions, answers, strict=True)
    ]
