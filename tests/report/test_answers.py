from qaclims_ray.report.answers import card
from qaclims_ray.report.render import render
from qaclims_ray.types import Answer


def answer(label: int, kind: str, text: str) -> Answer:
    return Answer(label=label, kind=kind, question=f"{kind}?", answer=f"{text}s", lemma=text)


def test_dropped_background_answers_are_struck_out():
    answers = [answer(0, "fg", "kitten"), answer(0, "bg", "sofa"), answer(0, "bg", "cat")]
    texts = {"label": 0, "foreground": ["kitten cat"], "background": ["sofa"]}
    html = render("answers.html", cards=[card(answers, texts, "cat", "data:")])
    assert "<em>kitten cat</em>" in html
    assert "<em>sofa</em>" in html
    assert "<em><s>cat</s></em>" in html
    assert "<s>" not in render("answers.html", cards=[card(answers, None, "cat", "data:")])


def test_a_pair_without_foreground_texts_has_its_class_name_and_repeated_ones_their_number():
    nothing = {"label": 0, "foreground": [], "background": []}
    assert "class name" in render("answers.html", cards=[card([], nothing, "cat", "data:")])
    twice = {"label": 0, "foreground": ["kitten", "kitten"], "background": []}
    assert "kitten <small>&times;2</small>" in render(
        "answers.html", cards=[card([], twice, "cat", "data:")]
    )


def test_only_the_questions_of_the_first_pair_are_open():
    pair = card([answer(0, "fg", "kitten")], None, "cat", "data:")
    assert render("answers.html", cards=[pair, pair]).count("<details open>") == 1
