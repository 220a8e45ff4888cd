import numpy as np

from qaclims_ray.corpus.cache import reply_row
from qaclims_ray.corpus.engines.sparing import Memory, Sparing

PIXELS = np.zeros((1, 1, 3), np.uint8)


class Engine:
    def __init__(self, **wrong):
        self.asked = []
        self.wrong = wrong

    def answer(self, images, questions, *, names):
        self.asked.append(dict(zip(names, questions, strict=True)))
        return [
            self.wrong.get(name) or [f"{text}!" for text in texts]
            for name, texts in zip(names, questions, strict=True)
        ]


def _row(name, key, **known):
    return {"name": name, "key": key, "known": [reply_row(*one) for one in known.items()]}


def _ask(engine, rows, questions, memory=None):
    sparing = Sparing(engine, rows, Memory() if memory is None else memory)
    names = [row["name"] for row in rows]
    return sparing, sparing.answer([PIXELS] * len(rows), questions, names=names)


def test_what_is_known_is_not_asked_and_an_image_all_known_is_not_shown():
    engine = Engine()
    rows = [_row("a", "1", q="old"), _row("b", "2", q="old")]
    sparing, replies = _ask(engine, rows, [["q", "r"], ["q"]])
    assert replies == [["old", "r!"], ["old"]]
    assert engine.asked == [{"a": ["r"]}]
    asked = [{"question": "r", "answer": "r!", "fault": None, "text": None}]
    assert sparing.notes("a") == {"key": "1", "asked": asked, "taken": 1}
    assert sparing.notes("b") == {"key": "2", "asked": [], "taken": 1}


def test_equal_images_with_other_labels_ask_what_the_first_did_not():
    engine = Engine()
    rows = [_row("a", "1"), _row("b", "1"), _row("c", "2")]
    sparing, replies = _ask(engine, rows, [["q", "q"], ["q", "r"], ["q"]])
    assert engine.asked == [{"a": ["q"], "b": ["r"], "c": ["q"]}]
    assert replies == [["q!", "q!"], ["q!", "r!"], ["q!"]]
    assert [sparing.notes(name)["taken"] for name in "abc"] == [1, 1, 0]


def test_a_fault_of_an_image_is_that_of_its_equals_and_of_no_other():
    wrong = ValueError("torn")
    rows = [_row("a", "1"), _row("b", "1"), _row("c", "2"), _row("d", "1")]
    _, replies = _ask(Engine(a=wrong), rows, [["q"], ["q"], ["q"], []])
    assert replies == [wrong, wrong, ["q!"], []]


def test_later_batches_remember_the_images_asked_about_last(monkeypatch):
    monkeypatch.setattr("qaclims_ray.corpus.engines.sparing._REMEMBERED", 2)
    engine, memory = Engine(), Memory()
    for key in ("1", "2", "1", "3", "2", "1"):
        assert _ask(engine, [_row("a", key)], [["q"]], memory)[1] == [["q!"]]
    assert len(engine.asked) == 4  # "1" again, as "2" and "3" were asked about after it
    assert [key for key in "123" if memory.recall(key)] == ["1", "3"]
