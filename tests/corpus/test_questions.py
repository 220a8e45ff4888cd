import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.corpus.questions import (
    background_texts,
    expected_names,
    fill,
    foreground_text,
)


def test_the_class_name_is_filled_into_every_template():
    assert fill(["what is above the {}?", "what {season} is it?"], "boat") == [
        "what is above the boat?",
        "what {season} is it?",
    ]


@pytest.mark.parametrize(
    ("answer", "class_name", "text"),
    [
        ("metro", "train", "metro train"),
        ("passenger train", "train", "passenger train"),
        ("cattle", "cat", "cattle"),
        ("Cat", "cat", "Cat cat"),
        ("", "cat", " cat"),
        ("coffee table", "dining table", "coffee table"),
        ("tv", "tv monitor", "tv tv monitor"),
    ],
)
def test_foreground_text_names_the_class(answer, class_name, text):
    assert foreground_text(answer, class_name, expected_names(class_name)) == text


def test_background_texts_keep_order_and_empty_answers():
    assert background_texts(["sky", "", "boat", "sky", "dock"], "boat") == ["sky", "", "dock"]


@given(st.lists(st.sampled_from(["sky", "sea", "boat", ""])))
def test_background_texts_are_the_set_without_the_class(answers):
    texts = background_texts(answers, "boat")
    assert len(texts) == len(set(texts))
    assert set(texts) == set(answers) - {"boat"}
