from qaclims_ray.report.answers import pair_card
from qaclims_ray.types import Answer


def answer(label: int, kind: str, text: str) -> Answer:
    return Answer(label=label, kind=kind, question=f"{kind}?", answer=f"{text}s", lemma=text)


def test_dropped_background_answers_are_struck_out():
    answers = [answer(0, "fg", "kitten"), answer(0, "bg", "sofa"), answer(0, "bg", "cat")]
    texts = {"label": 0, "foreground": ["kitten cat"], "background": ["sofa"]}
    card = pair_card(answers, texts, "cat", "data:", opened=False)
    assert "<em>kitten cat</em>" in card
    assert "<em>sofa</em>" in card
    assert "<em><s>cat</s></em>" in card
    assert "<s>" not in pair_card(answers, None, "cat", "data:", opened=False)
