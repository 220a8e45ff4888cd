import numpy as np
import pytest

from qaclims_ray.corpus.ask import answer_all, questions_about
from qaclims_ray.corpus.questions import BACKGROUND_QUESTIONS, FOREGROUND_QUESTIONS
from qaclims_ray.sections import Questions

CLASSES = ("cat", "tv monitor")
TWO = Questions(foreground=("what {}?",), background=("under the {}?",))


class Counter:
    """An engine whose answers tell the image and the question."""

    def __init__(self):
        self.calls = 0

    def answer(self, images, questions):
        self.calls += 1
        return [
            [f"{text} in {image[0, 0, 0]}" for text in asked]
            for image, asked in zip(images, questions, strict=True)
        ]


def _row(png, number, labels):
    return {
        "name": f"i{number}",
        "image": png(np.full((4, 4, 3), number, np.uint8)),
        "labels": labels,
    }


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


def test_no_label_no_question():
    assert questions_about([], CLASSES, Questions()) == []


def test_answers_go_to_the_question_of_their_image(png):
    engine = Counter()
    rows = [_row(png, 7, [0]), _row(png, 8, []), _row(png, 9, [0, 1])]
    made = answer_all(rows, engine, CLASSES, TWO, 10_000)
    assert engine.calls == 1
    assert [row["name"] for row in made] == ["i7", "i8", "i9"]
    assert [len(row["answers"]) for row in made] == [2, 0, 4]
    for row, number in zip(made, (7, 8, 9), strict=True):
        for answer in row["answers"]:
            assert answer["answer"] == f"{answer['question']} in {number}"
    assert [answer["label"] for answer in made[2]["answers"]] == [0, 0, 1, 1]


def test_an_answer_is_kept_as_generated_and_as_lemma(png):
    class Plural:
        def answer(self, images, questions):
            return [["cats"] * len(asked) for asked in questions]

    answers = answer_all([_row(png, 0, [0])], Plural(), CLASSES, TWO, 10_000)[0]["answers"]
    assert {(answer["answer"], answer["lemma"]) for answer in answers} == {("cats", "cat")}


def test_an_image_that_is_too_large_is_an_error(png):
    with pytest.raises(ValueError, match="pixels"):
        answer_all([_row(png, 0, [0])], Counter(), CLASSES, TWO, 3)
