import pytest

from qaclims_ray.config.corpus import Corpus
from qaclims_ray.corpus.texts import pairs_of, texts_of
from qaclims_ray.types import NO_CLASS

CLASSES = ("cat", "train", "tv monitor")


def _answer(label, kind, lemma):
    return {
        "label": label,
        "kind": kind,
        "question": "?",
        "answer": f"{lemma}s",
        "lemma": lemma,
    }


ROW = {
    "name": "a",
    "answers": [
        _answer(1, "fg", "metro"),
        _answer(1, "bg", "rail"),
        _answer(0, "fg", "cat"),
        _answer(0, "fg", "kitten"),
        _answer(0, "fg", "kitten"),
        _answer(0, "bg", "grass"),
        _answer(0, "bg", "cat"),
        _answer(0, "bg", "grass"),
        _answer(0, "bg", "sky"),
    ],
}


def test_answers_become_prompts_and_backgrounds_of_their_pair():
    cat, train = pairs_of(ROW, CLASSES, Corpus())["pairs"]
    assert cat == {
        "label": 0,
        "foreground": ["cat", "kitten cat", "kitten cat"],
        "background": ["grass", "sky"],
    }
    assert train == {"label": 1, "foreground": ["metro train"], "background": ["rail"]}


def test_further_expected_names_need_no_class_name():
    corpus = Corpus(expected_names={"cat": ("kitten",)})
    assert pairs_of(ROW, CLASSES, corpus)["pairs"][0]["foreground"] == ["cat", "kitten", "kitten"]


def test_the_papers_short_names_count_beside_further_ones():
    row = {"name": "a", "answers": [_answer(2, "fg", "big monitor"), _answer(2, "fg", "screen")]}
    corpus = Corpus(expected_names={"tv monitor": ("screen",)})
    assert pairs_of(row, CLASSES, corpus)["pairs"][0]["foreground"] == ["big monitor", "screen"]


@pytest.fixture
def clims_like():
    """CLIMS: the class name against one list for all images."""
    return Corpus.model_validate(
        {"texts": {"foreground": "class_name", "backgrounds": ["sky", "cat", "sea"]}}
    )


def test_the_class_name_alone_needs_no_prompts(clims_like):
    assert [pair["foreground"] for pair in pairs_of(ROW, CLASSES, clims_like)["pairs"]] == [[], []]


def test_a_fixed_list_is_that_of_all_images_without_the_class_itself(clims_like):
    assert [pair["background"] for pair in pairs_of(ROW, CLASSES, clims_like)["pairs"]] == [
        ["sky", "sea"],
        ["sky", "cat", "sea"],
    ]


def test_a_pair_may_have_no_background():
    row = {"name": "a", "answers": [_answer(0, "fg", "cat"), _answer(0, "bg", "cat")]}
    assert pairs_of(row, CLASSES, Corpus())["pairs"][0]["background"] == []


def test_an_image_without_answers_has_no_pairs():
    assert pairs_of({"name": "a", "answers": []}, CLASSES, Corpus()) == {"name": "a", "pairs": []}


def test_answers_about_the_image_serve_each_class_of_it():
    given = [("fg", "metro"), ("fg", "train station"), ("bg", "platform"), ("bg", "train")]
    row = {"name": "a", "answers": [_answer(NO_CLASS, kind, lemma) for kind, lemma in given]}
    cat, train = pairs_of(row, CLASSES, Corpus(), [0, 1])["pairs"]
    assert cat == {"label": 0, "foreground": [], "background": ["platform", "train"]}
    assert train == {"label": 1, "foreground": ["train station"], "background": ["platform"]}
    named = Corpus(expected_names={"train": ("metro",)})
    assert pairs_of(row, CLASSES, named, [1])["pairs"][0]["foreground"] == [
        "metro",
        "train station",
    ]
    assert pairs_of(row, CLASSES, Corpus(), [])["pairs"] == []


def test_the_texts_are_those_of_all_pairs_once():
    rows = [pairs_of(ROW, CLASSES, Corpus()), pairs_of({**ROW, "name": "b"}, CLASSES, Corpus())]
    assert texts_of(rows) == {"cat", "kitten cat", "grass", "sky", "metro train", "rail"}
    assert texts_of([]) == set()
