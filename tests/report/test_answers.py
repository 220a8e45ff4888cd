import pyarrow as pa

from qaclims_ray.report.answers import common_backgrounds, pair_card
from qaclims_ray.types import SCHEMAS, Answer


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


def test_common_backgrounds_are_shares_of_the_images_of_a_class():
    rows = [
        [answer(0, "bg", "sofa"), answer(0, "bg", "sofa"), answer(0, "fg", "kitten")],
        [answer(0, "bg", "sofa"), answer(0, "bg", "rug"), answer(1, "bg", "sea")],
        [answer(0, "bg", "cat")],
    ]
    table = pa.Table.from_pylist(
        [{"name": str(i), "answers": row} for i, row in enumerate(rows)], schema=SCHEMAS["corpus"]
    )
    batches = table.select(["answers"]).to_batches(max_chunksize=1)
    common = common_backgrounds(batches, ["cat", "boat"])
    assert common == {0: [("sofa", 2 / 3), ("rug", 1 / 3)], 1: [("sea", 1.0)]}
