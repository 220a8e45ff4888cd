"""What is asked about an image, and what becomes of the answers (paper, section 3.2).

Source of templates, names and rules: `visual_questions.py`, `misc/cat_names.py`, `net/vqa_fg.py`
and `net/vqa_bg.py` of the published code.
"""

from collections.abc import Sequence

from lemminflect import getLemma

from qaclims_ray.config.corpus import Questions
from qaclims_ray.types import Kind

FOREGROUND_QUESTIONS = (
    "What kind of {} is in the photo?",
    "What type of {} is in the photo?",
    "What is this {} also called?",
    "What is this {} usually called?",
    "What is another word for this {}?",
    "What is another name for this {}?",
)
BACKGROUND_QUESTIONS = (
    "what is above the {}?",
    "what is under the {}?",
    "what is behind the {}?",
    "what is around the {}?",
    "what is next to the {}?",
    "what is the left side of {}?",
    "what is the right side of {}?",
    "what scene is the {} in?",
    "what environment is the {} in?",
    "what place is the {} in?",
)
PROMPT = "a photo of {}."
"""How CLIP is told a text."""

_SHORT_NAMES = {"dining table": "table", "tv monitor": "monitor", "potted plant": "plant"}


def templates_of(questions: Questions) -> dict[Kind, tuple[str, ...]]:
    """The templates that a configuration means: the paper's about classes where it names none."""
    default = questions.about == "class"
    foreground, background = questions.foreground, questions.background
    if foreground is None:
        foreground = FOREGROUND_QUESTIONS if default else ()
    if background is None:
        background = BACKGROUND_QUESTIONS if default else ()
    return {"fg": foreground, "bg": background}


def ask(templates: Sequence[str], class_name: str) -> list[str]:
    """The questions of the templates about a class; `{}` stands for its name."""
    return [template.replace("{}", class_name) for template in templates]


def lemma(answer: str) -> str:
    """The whole answer as one noun in the singular; an unknown noun stays as it is.

    Several words are one unknown noun, as in the published code. Of two lemmas the shorter one
    counts ("leaves" is "leaf"): WordNet's rule.
    """
    return min(getLemma(answer, upos="NOUN", lemmatize_oov=False), key=len, default=answer)


def clean(text: str) -> str:
    """The first line in lower case, without full stop: chat models answer in sentences.

    What a model thinks before it answers, up to `</think>`, is left out.

    Raises:
        ValueError: the text ends before the thoughts do.
    """
    said = text.rpartition("</think>")[2]
    if "<think>" in said:
        raise ValueError(
            "the model was still thinking when its answer ended: raise "
            "corpus.engine.max_new_tokens, or switch thinking off"
        )
    first, _, _ = said.strip().partition("\n")
    return first.strip().rstrip(".").lower()


def expected_names(class_name: str) -> tuple[str, ...]:
    """Names that show that an answer speaks of the class: its name, or for three a part."""
    short = _SHORT_NAMES.get(class_name)
    return (class_name,) if short is None else (short, class_name)


def foreground_text(lemma: str, class_name: str, expected: Sequence[str]) -> str:
    """The answer, followed by the class name unless an expected name is a substring of it.

    "metro" becomes "metro train". Case matters; a part of a word counts ("cattle" names "cat").
    """
    return lemma if names_class(lemma, expected) else f"{lemma} {class_name}"


def names_class(lemma: str, expected: Sequence[str]) -> bool:
    """Whether an expected name of the class is a substring of the answer."""
    return any(name in lemma for name in expected)


def background_texts(lemmas: Sequence[str], class_name: str) -> list[str]:
    """The unique answers in order of first appearance, without the class name itself.

    May be empty; an empty answer stays an answer.
    """
    return [text for text in dict.fromkeys(lemmas) if text != class_name]
