"""One batch of images through a VQA engine: decoded rows in, corpus rows out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.engines.base import Engine
from qaclims_ray.corpus.questions import ask, lemma, templates_of
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.images.decoded import DecodedRow, images_of
from qaclims_ray.run.tables import Rows
from qaclims_ray.types import NO_CLASS, Answer, CorpusRow, Kind


class Question(NamedTuple):
    """A question about one class of an image, or about all of it (`NO_CLASS`)."""

    label: int
    kind: Kind
    text: str


def questions_about(
    labels: Sequence[int] | None, class_names: Sequence[str], questions: Questions
) -> list[Question]:
    """Every template for every class that the image's labels name.

    Templates about the image are asked once and need no labels; about the classes of an image
    whose labels nobody knows (None) nothing can be asked.
    """
    named = titles(class_names)
    return [
        Question(label, kind, text)
        for label in ((NO_CLASS,) if questions.about == "image" else labels or ())
        for kind, templates in templates_of(questions).items()
        for text in ask(templates, named[label])
    ]


def answer_all(
    rows: Sequence[DecodedRow],
    engine: Engine,
    class_names: Sequence[str],
    templates: Questions,
) -> Rows:
    """Ask the engine everything about a batch of images.

    Returns:
        One row per image: the answers as generated and their lemmas, in the order of questions; or
        its name and `error`.
    """
    questions = [questions_about(row["labels"], class_names, templates) for row in rows]
    answers = engine.answer(
        images_of(rows),
        [[one.text for one in asked] for asked in questions],
        names=[row["name"] for row in rows],
    )
    return [
        _row(row["name"], asked, answered)
        for row, asked, answered in zip(rows, questions, answers, strict=True)
    ]


def _row(
    name: str, asked: Sequence[Question], answered: Sequence[str] | ValueError
) -> Mapping[str, Any]:
    if isinstance(answered, ValueError):
        return {"name": name, "error": f"ValueError: {answered}"}
    return CorpusRow(
        name=name,
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
