import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.corpus.answers import NoAnswer, read_answer, require_some


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" A sailing Boat.\nIt is white.", "a sailing boat"),
        ("<think>A cat, or\na dog.</think>\n\nDog.", "dog"),
        ("A cat, or a dog.\n</think>\n\nDog.", "dog"),
        ("</think>Dog", "dog"),
        ("[THINK]a cat[/THINK]Dog", "dog"),
        ("<thinking>a cat</thinking><answer>Dog</answer>", "dog"),
        ("<|begin_of_box|>Dog<|end_of_box|>", "dog"),
        ("**Golden** retriever", "golden retriever"),
        ("**Answer:** Dog", "dog"),
        ("## Answer\n\n- *Dog*", "answer"),
        ("**Answer:**\n\n1. Dog\n2. Cat", "dog"),
        ("The answer is: `dog`.", "dog"),
        ("1. Dog", "dog"),
        ("2) dog", "dog"),
        ("- Dog", "dog"),
        ("> _dog_", "dog"),
        ('"Dog."', "dog"),
        ("\u201cDog\u201d", "dog"),
        ("```\ndog\n```", "dog"),
        ("[Dog](https://example.com)", "dog"),
        ("$\\boxed{Dog}$".strip("$"), "dog"),
        ("3.5 inch disk", "3.5 inch disk"),
        ("747", "747"),
        ("children's snow_white toys", "children's snow_white toys"),
        ("sorry game", "sorry game"),
    ],
)
def test_an_answer_is_a_few_words_and_no_more(text, answer):
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    "text", ["", " \n", "<think>a dog</think>", "<think></think>\n", "**", '""']
)
def test_nothing_is_empty(text):
    assert read_answer(text) == NoAnswer("empty", "")


@pytest.mark.parametrize("text", ["<think>Okay, the photo", "ok</think> <think>", "[THINK]a cat"])
def test_thoughts_without_end_are_cut(text):
    assert read_answer(text).fault == "cut"


@pytest.mark.parametrize("text", ["Okay, the user asks what", "dog", "", "<think>a</think>dog"])
def test_what_reached_the_limit_is_cut(text):
    assert read_answer(text, is_cut=True).fault == "cut"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that.",
        "I\u2019m sorry, but I can\u2019t identify people.",
        "I am unable to see the image",
        "Sorry, I cannot tell.",
        "I cannot determine what is behind the cat.",
        "Unfortunately, I can't see the picture",
        "As an AI, I have no eyes",
        "**I don't know.**",
        "I apologize, but no",
    ],
)
def test_refusals_are_no_answers(text):
    assert read_answer(text).fault == "refused"


@settings(deadline=None)
@given(st.text(st.sampled_from(list("ab1 .-*_`#>\"'\n<think>/[]()"))), st.booleans())
def test_an_answer_is_one_line_and_is_read_as_itself(text, is_cut):
    reply = read_answer(text, is_cut=is_cut)
    if isinstance(reply, NoAnswer):
        assert reply.fault in ("cut", "empty")
    else:
        assert reply == reply.strip().lower()
        assert "\n" not in reply
        assert reply


def test_an_image_needs_an_answer_where_something_was_asked():
    assert require_some([]) == []
    assert require_some(["a", NoAnswer("cut", "b")]) == ["a", NoAnswer("cut", "b")]
    faults = [NoAnswer("empty", ""), NoAnswer("refused", "i can't"), NoAnswer("empty", "")]
    with pytest.raises(ValueError, match=r"none of its 3 .*: 2 empty, 1 refused \(\"i can't\"\)$"):
        require_some(faults)
