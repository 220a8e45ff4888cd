import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.cams.texts import choose_texts, fixed_words, without_names
from qaclims_ray.config.cams import Cams
from qaclims_ray.model.clip_words import BACKGROUND_WORDS, COCO_BACKGROUND_WORDS

CLASSES = ("cat", "dining table", "car")
FIXED = ["sky", "road"]
PAIRS = [
    {"label": 0, "foreground": ["black cat"], "background": ["table", "carpet", "grass", "car"]},
    {"label": 1, "foreground": [], "background": ["white cat", "grass", "sky"]},
]


def _choose(labels, pairs=PAIRS, backgrounds="answers", expected=None):
    cams = Cams(backgrounds=backgrounds)
    return choose_texts(labels, pairs, CLASSES, cams, FIXED, expected or {})


def test_answers_of_all_classes_but_those_that_name_one_of_the_image():
    chosen = _choose([0, 1])
    assert chosen.classes == ["cat", "dining table"]
    assert chosen.prompts == [["black cat"], []]
    assert chosen.backgrounds == ["carpet", "grass", "car", "sky"]
    assert not chosen.falls_back


def test_expected_names_are_names():
    assert _choose([0], expected={"cat": ["Grass"]}).backgrounds == ["table", "carpet", "car"]


@pytest.mark.parametrize(
    ("backgrounds", "expected"),
    [
        ("answers", ["table", "carpet", "grass", "car"]),
        ("fixed", FIXED),
        ("both", ["table", "carpet", "grass", "car", *FIXED]),
        ("none", FIXED),
    ],
)
def test_backgrounds_of_one_class(backgrounds, expected):
    chosen = _choose([0], backgrounds=backgrounds)
    assert chosen.backgrounds == expected
    assert chosen.falls_back == (backgrounds == "none")


@pytest.mark.parametrize(
    ("labels", "pairs"), [([2], PAIRS), ([0, 1], []), ([0], [{**PAIRS[0], "background": ["cat"]}])]
)
def test_without_answers_the_fixed_words_stand_in(labels, pairs):
    chosen = _choose(labels, pairs)
    assert (chosen.backgrounds, chosen.falls_back) == (FIXED, True)
    assert not _choose(labels, pairs, "both").falls_back
    assert not _choose(labels, pairs, "fixed").falls_back


def test_several_classes_need_no_background():
    assert _choose([0, 1], backgrounds="none")[2:] == ([], False)


@pytest.mark.parametrize("backgrounds", ["answers", "both", "none"])
def test_an_image_without_a_class_lacks_nothing(backgrounds):
    chosen = _choose([], backgrounds=backgrounds)
    assert chosen.classes == []
    assert not chosen.falls_back


def test_fixed_words_are_those_of_clip_es():
    voc = ("aeroplane", "boat", "potted plant", "tv monitor")
    assert fixed_words(Cams(), voc) == list(BACKGROUND_WORDS)
    assert fixed_words(Cams(), ("stop sign", "keyboard")) == list(COCO_BACKGROUND_WORDS)


def test_own_words_and_none_left():
    cams = Cams.model_validate({"clip": {"background_words": ["bench", "tissue"]}})
    assert fixed_words(cams, ["lesion"]) == ["bench", "tissue"]
    with pytest.raises(ValueError, match=r"cams\.clip\.background_words: each of them names"):
        fixed_words(cams, ["Tissue", "bench"])


@given(st.lists(st.sampled_from(["a", "b c", "c", "C", "ab", "d e"])), st.sets(st.just("c")))
def test_what_names_no_class_is_kept_once_and_in_order(texts, names):
    kept = without_names(texts, names)
    naming = {"b c", "c", "C"} if names else set()
    assert kept == [text for text in dict.fromkeys(texts) if text not in naming]
