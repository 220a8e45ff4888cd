"""Questions, answers and texts of a report, as HTML."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from qaclims_ray.types import Answer, TextPair


def pair_card(
    answers: Sequence[Answer],
    texts: TextPair | None,
    class_name: str,
    picture: str,
    *,
    opened: bool,
) -> str:
    """One pair (image, class): its texts, and below them the questions and answers.

    Args:
        answers: About this class of the image.
        texts: What became of them; None where the artifact `pairs` is not there.
        class_name: Of the pair.
        picture: URL of the image.
        opened: Whether the questions are shown at first.
    """
    tables = "".join(_questions(answers, kind) for kind in ("fg", "bg"))
    return (
        f'<article class="pair"><img src="{picture}" alt="{escape(class_name)}" loading="lazy">'
        f"<div><h3>{escape(class_name)}</h3>{_texts(answers, texts)}"
        f"<details{' open' if opened else ''}><summary>{len(answers)} questions and answers"
        f'</summary><div class="asked">{tables}</div></details></div></article>'
    )


def _questions(answers: Sequence[Answer], kind: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(answer['question'])}</td><td>{escape(answer['answer'])}</td></tr>"
        for answer in answers
        if answer["kind"] == kind
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _texts(answers: Sequence[Answer], texts: TextPair | None) -> str:
    """Foreground prompts and background texts; struck out what an answer said but no text has."""
    lemmas = {
        kind: Counter(answer["lemma"] for answer in answers if answer["kind"] == kind)
        for kind in ("fg", "bg")
    }
    if texts is None:
        foreground, background = lemmas["fg"], dict.fromkeys(lemmas["bg"], True)
    else:
        foreground = Counter(texts["foreground"])
        background = dict.fromkeys(texts["background"], True)
        background |= {text: False for text in lemmas["bg"] if text not in background}
    return _chips(
        "foreground", [_chip(text, count) for text, count in foreground.items()]
    ) + _chips("background", [_chip(text, kept=kept) for text, kept in background.items()])


def _chips(title: str, chips: Sequence[str]) -> str:
    return f'<p class="chips {title}"><span>{title}</span>{"".join(chips) or "class name"}</p>'


def _chip(text: str, count: int = 1, *, kept: bool = True) -> str:
    word = escape(text) or "(empty)"
    times = f" <small>&times;{count}</small>" if count > 1 else ""
    return f"<em>{word}{times}</em>" if kept else f"<em><s>{word}</s></em>"
