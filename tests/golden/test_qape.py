"""Questions, foreground texts and background sets of the published code."""

import pytest

from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS, FOREGROUND_QUESTIONS, Texts
from qaclims_ray.corpus import questions as q


@pytest.fixture(scope="module")
def qape(golden):
    return golden("qape").meta


def test_templates_are_the_published_ones(qape):
    assert list(FOREGROUND_QUESTIONS) == qape["questions"]["fg"]
    assert list(BACKGROUND_QUESTIONS) == qape["questions"]["bg"]
    assert qape["text_prompt"] == Texts().template


def test_expected_names_are_the_published_ones(qape):
    names = {name for group in qape["categories"].values() for name in group}
    for name in names:
        assert list(q.expected_names(name)) == qape["supply_cat"].get(name, [name])


def test_foreground_texts(qape):
    for case in qape["fg_cases"]:
        label = case["label"]
        texts = [q.foreground_text(a, label, q.expected_names(label)) for a in case["answers"]]
        assert texts == case["prompts"], case["note"]


def test_background_sets(qape):
    for case in qape["bg_cases"]:
        texts = q.background_texts(case["answers"], case["label"])
        assert sorted(texts) == case["answer_set_sorted"]
        assert len(set(texts)) == len(texts)
        prompts = sorted(prompt for text in texts for prompt in q.fill([Texts().template], text))
        assert prompts == (case["prompts_sorted"] or [])
