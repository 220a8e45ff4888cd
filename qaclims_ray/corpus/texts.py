"""From an image's answers to the texts of its pairs (image, class)."""

from collections.abc import Iterable, Sequence

from qaclims_ray.corpus.questions import background_texts, expected_names, foreground_text
from qaclims_ray.sections import Corpus
from qaclims_ray.types import Answer, CorpusRow, Kind, PairsRow, TextPair


def pairs_of(row: CorpusRow, class_names: Sequence[str], corpus: Corpus) -> PairsRow:
    """The texts that each pair of an image contrasts with its regions (paper, section 3.2).

    Args:
        row: All answers about the image.
        class_names: Names in the order of their indices.
        corpus: Which texts are wanted: answers, or the class name and a fixed list.
    """
    labels = sorted({answer["label"] for answer in row["answers"]})
    return PairsRow(
        name=row["name"],
        pairs=[
            TextPair(
                label=label,
                foreground=_foreground(row["answers"], label, class_names[label], corpus),
                background=_background(row["answers"], label, class_names[label], corpus),
            )
            for label in labels
        ],
    )


def _foreground(
    answers: Iterable[Answer], label: int, class_name: str, corpus: Corpus
) -> list[str]:
    if corpus.texts.foreground == "class_name":
        return []
    expected = (*expected_names(class_name), *corpus.expected_names.get(class_name, ()))
    return [foreground_text(lemma, class_name, expected) for lemma in _lemmas(answers, label, "fg")]


def _background(
    answers: Iterable[Answer], label: int, class_name: str, corpus: Corpus
) -> list[str]:
    wanted = corpus.texts.backgrounds
    lemmas = _lemmas(answers, label, "bg") if wanted == "answers" else list(wanted)
    return background_texts(lemmas, class_name)


def _lemmas(answers: Iterable[Answer], label: int, kind: Kind) -> list[str]:
    return [
        answer["lemma"] for answer in answers if answer["label"] == label and answer["kind"] == kind
    ]


def texts_of(rows: Iterable[PairsRow]) -> set[str]:
    """All texts of the pairs."""
    return {
        text
        for row in rows
        for pair in row["pairs"]
        for text in (*pair["foreground"], *pair["background"])
    }
