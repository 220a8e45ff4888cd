"""Questions, answers and texts of a report, as HTML."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

import pyarrow as pa

from qaclims_ray.types import Answer, TextPair

_NUM_COMMON = 6

Common = dict[int, list[tuple[str, float]]]
"""For each class index its most frequent background answers and their share of its images."""


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


def common_backgrounds(corpus: Iterable[pa.RecordBatch], class_names: Sequence[str]) -> Common:
    """What is most often named as background of each class, other than the class itself.

    Args:
        corpus: Batches of the column `answers`.
        class_names: Names in the order of their indices.
    """
    pairs: Counter[int] = Counter()
    named: Counter[tuple[int, str]] = Counter()
    for batch in corpus:
        said = _unique(batch["answers"])
        named.update((label, lemma) for _, label, lemma in said)
        pairs.update(label for _, label in {(row, label) for row, label, _ in said})
    common: Common = {label: [] for label in sorted(pairs)}
    for (label, lemma), count in sorted(named.items(), key=lambda item: (-item[1], item[0])):
        if lemma != class_names[label] and len(common[label]) < _NUM_COMMON:
            common[label].append((lemma, count / pairs[label]))
    return common


def common_table(common: Common, class_names: Sequence[str]) -> str:
    """A row per class with its most frequent background answers."""
    rows = "".join(
        f"<tr><th>{escape(class_names[label])}</th><td>"
        + "".join(_share_chip(text, share) for text, share in texts)
        + "</td></tr>"
        for label, texts in common.items()
    )
    return f'<table class="common"><tbody>{rows}</tbody></table>'


def _unique(answers: pa.ListArray) -> set[tuple[int, int, str]]:
    """(row, class index, lemma) of the background answers."""
    flat = answers.flatten()
    columns = (flat.field(name).to_pylist() for name in ("kind", "label", "lemma"))
    rows = zip(answers.value_parent_indices().to_pylist(), *columns, strict=True)
    return {(row, label, lemma) for row, kind, label, lemma in rows if kind == "bg"}


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


def _share_chip(text: str, share: float) -> str:
    return (
        f'<em style="--share:{100 * share:.0f}%">{escape(text) or "(empty)"} '
        f"<small>{100 * share:.0f}%</small></em>"
    )
