import numpy as np
import pyarrow as pa
import pytest

from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS, FOREGROUND_QUESTIONS, Questions
from qaclims_ray.corpus.answers import NoAnswer
from qaclims_ray.corpus.ask import answer_all, count_questions, questions_about
from qaclims_ray.corpus.stats.replies import ReplyCounts
from qaclims_ray.images.decoded import decode_row
from qaclims_ray.types import NO_CLASS

CLASSES = ("cat", "tv monitor")
TWO = Questions(foreground=("what {}?",), background=("under the {}?",))


class Counter:
    """An engine whose answers tell the image and the question."""

    def __init__(self):
        self.calls = 0
        self.names = []

    def answer(self, images, questions, *, names):
        self.calls += 1
        self.names += names
        return [
            [f"{text} in {image[0, 0, 0]}" for text in asked]
            for image, asked in zip(images, questions, strict=True)
        ]


def _row(png, number, labels):
    image = png(np.full((4, 4, 3), number, np.uint8))
    return decode_row({"name": f"i{number}", "image": image, "labels": labels})


def test_every_class_is_asked_every_template():
    asked = questions_about([1, 0], CLASSES, TWO)
    assert [tuple(question) for question in asked] == [
        (1, "fg", "what tv monitor?"),
        (1, "bg", "under the tv monitor?"),
        (0, "fg", "what cat?"),
        (0, "bg", "under the cat?"),
    ]


def test_without_templates_the_papers_are_asked():
    asked = questions_about([0], CLASSES, Questions())
    templates = (*FOREGROUND_QUESTIONS, *BACKGROUND_QUESTIONS)
    assert [question.text for question in asked] == [text.format("cat") for text in templates]
    assert [question.kind for question in asked] == ["fg"] * 6 + ["bg"] * 10


@pytest.mark.parametrize("kind", ["foreground", "background"])
def test_ones_own_questions_of_one_kind_are_asked_alone_where_the_other_list_is_empty(kind):
    alone = Questions(**{"foreground": [], "background": [], kind: ["what {}?"]})
    assert questions_about([0], CLASSES, alone) == [(0, kind[0] + "g", "what cat?")]


def test_templates_that_are_left_out_are_the_papers():
    own = Questions(foreground=("what {}?",))
    texts = [question.text for question in questions_about([0], CLASSES, own)]
    assert texts == ["what cat?", *(text.format("cat") for text in BACKGROUND_QUESTIONS)]


def test_no_label_no_question():
    assert questions_about([], CLASSES, Questions()) == []


def test_a_question_about_the_image_is_asked_once_whatever_its_labels():
    free = Questions(about="image", foreground=("what is it?",), background=("what place is it?",))
    for labels in ([], [0], [0, 1]):
        asked = questions_about(labels, CLASSES, free)
        assert asked == [(NO_CLASS, "fg", "what is it?"), (NO_CLASS, "bg", "what place is it?")]
    background = Questions(about="image", background=("what place is it?",))
    assert len(questions_about([0, 1], CLASSES, background)) == 1


def test_templates_about_a_class_need_not_name_it():
    place = Questions(background=("what place is it?",))
    assert questions_about([1], CLASSES, place)[-1] == (1, "bg", "what place is it?")


def test_answers_go_to_the_question_of_their_image(png):
    engine = Counter()
    rows = [_row(png, 7, [0]), _row(png, 8, []), _row(png, 9, [0, 1])]
    made = answer_all(rows, engine, CLASSES, TWO)
    assert engine.calls == 1
    assert [row["name"] for row in made] == engine.names == ["i7", "i8", "i9"]
    assert [len(row["answers"]) for row in made] == [2, 0, 4]
    for row, number in zip(made, (7, 8, 9), strict=True):
        for answer in row["answers"]:
            assert answer["answer"] == f"{answer['question']} in {number}"
    assert [answer["label"] for answer in made[2]["answers"]] == [0, 0, 1, 1]


def test_an_error_in_place_of_answers_is_the_error_of_its_image(png):
    class Choosy(Counter):
        def answer(self, images, questions, *, names):
            good, bad = super().answer(images, questions, names=names)
            return [good, ValueError(f"not {len(bad)} times")]

    good, bad = answer_all([_row(png, 7, [0]), _row(png, 8, [0])], Choosy(), CLASSES, TWO)
    assert len(good["answers"]) == 2
    assert bad == {"name": "i8", "error": "ValueError: not 2 times"}


def test_a_question_without_answer_is_recorded_and_costs_no_other_its_answer(png):
    class Refusing:
        def answer(self, images, questions, *, names):
            return [["cats", NoAnswer("refused", "i can't")], [NoAnswer("cut", "ok, a")] * 2]

    some, none = answer_all([_row(png, n, [0]) for n in (7, 8)], Refusing(), CLASSES, TWO)
    assert [answer["answer"] for answer in some["answers"]] == ["cats"]
    question = {"label": 0, "kind": "bg", "question": "under the cat?"}
    assert some["unanswered"] == [{**question, "fault": "refused", "text": "i can't"}]
    assert none["error"].startswith("ValueError: none of its 2 questions was answered: 2 cut ('ok,")
    assert "raise corpus.engine.max_new_tokens" in none["error"]


def test_an_answer_is_kept_as_generated_and_as_lemma(png):
    class Plural:
        def answer(self, images, questions, *, names):
            return [["cats"] * len(asked) for asked in questions]

    answers = answer_all([_row(png, 0, [0])], Plural(), CLASSES, TWO)[0]["answers"]
    assert {(answer["answer"], answer["lemma"]) for answer in answers} == {("cats", "cat")}


IMAGES = pa.table({"name": ["a", "b", "c"], "labels": [[0, 3], [1], None]})
FAILED = pa.chunked_array([["b"]])
NONE = pa.chunked_array([[]], pa.string())
OWN = Questions(foreground=("which {}?",), background=("where is the {}?", "what is by the {}?"))
FREE = Questions(about="image", background=("what is there?", "what else?"))


@pytest.mark.parametrize(
    ("questions", "failed", "asked", "lost"),
    [(OWN, NONE, 9, 0), (OWN, FAILED, 9, 3), (FREE, NONE, 6, 0), (FREE, FAILED, 6, 2)],
)
def test_each_question_is_answered_or_lost(questions, failed, asked, lost):
    replies = ReplyCounts(answers=asked - lost - 2, unanswered=2, cut=1, empty=1, refused=0)
    counts = count_questions(IMAGES.to_batches(), failed, replies, questions)
    assert counts == {"questions": asked, "lost": lost, **replies}
    for wrong in (asked - lost - 3, asked - lost - 1):
        with pytest.raises(ValueError, match=f"{asked} questions were asked, .* {wrong} answers"):
            count_questions(IMAGES.to_batches(), failed, replies | {"answers": wrong}, questions)
