"""Compare answers with the texts of pairs (image, class), for the template `answers.html`."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from qaclims_ray.types import Answer, TextPair


class Chip(NamedTuple):
    """A text of a pair."""

    text: str
    times: int = 1
    """How often it is among the foreground prompts."""
    is_kept: bool = True
    """False for an answer that is in no text."""


class Card(NamedTuple):
    """One pair with its texts, and the questions and answers that they are from."""

    class_name: str
    picture: str
    """URL of the image."""
    answers: Sequence[Answer]
    foreground: list[Chip]
    """None: the class name alone is the prompt."""
    background: list[Chip]


def card(answers: Sequence[Answer], texts: TextPair | None, class_name: str, picture: str) -> Card:
    """Compare the answers about a pair with its texts.

    Args:
        answers: About this class of the image.
        texts: Made from them; None where the artifact `pairs` is not there.
        class_name: Name of the pair's class.
        picture: URL of the image.
    """
    lemmas = {
        kind: Counter(answer["lemma"] for answer in answers if answer["kind"] == kind)
        for kind in ("fg", "bg")
    }
    foreground = lemmas["fg"] if texts is None else Counter(texts["foreground"])
    kept = list(lemmas["bg"]) if texts is None else texts["background"]
    background = dict.fromkeys([*kept, *lemmas["bg"]])
    return Card(
        class_name,
        picture,
        answers,
        [Chip(text, count) for text, count in foreground.items()],
        [Chip(text, is_kept=text in kept) for text in background],
    )
