"""Questions and answers as texts: templates, prompts, background sets (paper, section 3.2).

The names and rules are those of the published code: `misc/cat_names.py`, `net/vqa_fg.py` and
`net/vqa_bg.py`. The templates are defaults of the configuration (`config.corpus.Questions`).
"""

from collections.abc import Sequence

_SHORT_NAMES = {"dining table": "table", "tv monitor": "monitor", "potted plant": "plant"}


def fill(templates: Sequence[str], class_name: str) -> list[str]:
    """Fill the class name into each template, in place of `{}`."""
    return [template.replace("{}", class_name) for template in templates]


def expected_names(class_name: str) -> tuple[str, ...]:
    """Names by which an answer may name the class: its own, and for three classes a short one."""
    short = _SHORT_NAMES.get(class_name)
    return (class_name,) if short is None else (short, class_name)


def names_class(lemma: str, expected: Sequence[str]) -> bool:
    """Whether an expected name of the class is a substring of the answer.

    Case matters; a part of a word counts ("cattle" names "cat").
    """
    return any(name in lemma for name in expected)


def foreground_text(lemma: str, class_name: str, expected: Sequence[str]) -> str:
    """The answer, followed by the class name unless it names the class (`names_class`).

    "metro" becomes "metro train".
    """
    return lemma if names_class(lemma, expected) else f"{lemma} {class_name}"


def background_texts(lemmas: Sequence[str], class_name: str) -> list[str]:
    """The unique answers in order of first appearance, without the class name itself.

    May be empty; an empty answer stays an answer.
    """
    return [text for text in dict.fromkeys(lemmas) if text != class_name]
