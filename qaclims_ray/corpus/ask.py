"""Ask a VQA engine about a batch of images, and count what was asked and answered."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.answers import NoAnswer, Reply, require_some
from qaclims_ray.corpus.engines.base import Engine
from qaclims_ray.corpus.lemmas import Lemmatise, lemma
from qaclims_ray.corpus.questions import fill
from qaclims_ray.corpus.stats.replies import ReplyCounts
from qaclims_ray.images.decoded import DecodedRow, images_of
from qaclims_ray.run.tables import Rows
from qaclims_ray.storage.errors import attempt
from qaclims_ray.types import NO_CLASS, Answer, CorpusRow, Kind, Unanswered


class Question(NamedTuple):
    """A question about one class of an image, or about all of it (`NO_CLASS`)."""

    label: int
    kind: Kind
    text: str


class QuestionCounts(ReplyCounts):
    """Numbers of questions about all images."""

    questions: int
    lost: int
    """Questions about images that failed."""


def questions_about(
    labels: Sequence[int] | None, class_names: Sequence[str], questions: Questions
) -> list[Question]:
    """Every template for every class that the image's labels name.

    Templates about the image are asked once and need no labels. About classes of an image without
    known labels (None) nothing can be asked.
    """
    if questions.about == "image":
        subjects = [(NO_CLASS, "")]
    else:
        subjects = [(label, class_names[label]) for label in labels or ()]
    return [
        Question(label, kind, text)
        for label, class_name in subjects
        for kind, templates in questions.templates.items()
        for text in fill(templates, class_name)
    ]


def answer_all(
    rows: Sequence[DecodedRow],
    engine: Engine,
    class_names: Sequence[str],
    questions: Questions,
    lemmatise: Lemmatise = lemma,
) -> Rows:
    """Ask the engine everything about a batch of images.

    Returns:
        One row per image: its answers as generated and their lemmas, in the order of questions, and
        the questions without an answer; or its name and `error`, as where no question has one.
    """
    asked = [questions_about(row["labels"], class_names, questions) for row in rows]
    answers = engine.answer(
        images_of(rows),
        [[question.text for question in about_image] for about_image in asked],
        names=[row["name"] for row in rows],
    )
    return [
        _corpus_row(row["name"], about_image, answered, lemmatise)
        for row, about_image, answered in zip(rows, asked, answers, strict=True)
    ]


def _corpus_row(
    name: str,
    asked: Sequence[Question],
    replies: Sequence[Reply] | ValueError,
    lemmatise: Lemmatise,
) -> Mapping[str, Any]:
    if not isinstance(replies, ValueError):
        replies = attempt(require_some, replies)
    if isinstance(replies, ValueError):
        return {"name": name, "error": f"ValueError: {replies}"}
    answers: list[Answer] = []
    unanswered: list[Unanswered] = []
    for (label, kind, question), reply in zip(asked, replies, strict=True):
        about: Any = {"label": label, "kind": kind, "question": question}
        if isinstance(reply, NoAnswer):
            unanswered.append(Unanswered(**about, **reply._asdict()))
        else:
            answers.append(Answer(**about, answer=reply, lemma=lemmatise(reply)))
    return CorpusRow(name=name, answers=answers, unanswered=unanswered or None)


def count_questions(
    images: Iterable[pa.RecordBatch],
    failed: pa.ChunkedArray,
    replies: ReplyCounts,
    questions: Questions,
) -> QuestionCounts:
    """Count the questions about all images, and those lost with images that failed.

    Args:
        images: Rows of the artifact `images`, columns name and labels.
        failed: Names of the images that failed.
        replies: Numbers of replies about the other images.
        questions: Templates that were asked.

    Raises:
        ValueError: a question is neither answered, unanswered nor lost, or more are answered than
            asked.
    """
    num_questions = num_lost = 0
    for batch in images:
        num_pairs = pc.call_function("list_value_length", [batch["labels"]]).fill_null(0).to_numpy()
        subjects = num_pairs if questions.about == "class" else num_pairs * 0 + 1
        failures = pc.SetLookupOptions(failed)
        lost = pc.call_function("is_in", [batch["name"]], failures).to_numpy(zero_copy_only=False)
        num_questions += int(subjects.sum()) * questions.num_templates
        num_lost += int(subjects[lost].sum()) * questions.num_templates
    answered, unanswered = replies["answers"], replies["unanswered"]
    if num_questions != answered + unanswered + num_lost:
        raise ValueError(
            f"{num_questions} questions were asked, but there are {answered} answers, {unanswered} "
            f"are without one, and {num_lost} were lost with images that failed: this is a bug, "
            "please report it; --overwrite makes the corpus anew"
        )
    return QuestionCounts(questions=num_questions, lost=num_lost, **replies)
