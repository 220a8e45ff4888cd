"""Turn an image's answers into the texts of its pairs (image, class)."""

from collections.abc import Iterable, Sequence

from qaclims_ray.config.corpus import Corpus
from qaclims_ray.corpus.questions import (
    background_texts,
    expected_names,
    foreground_text,
    names_class,
)
from qaclims_ray.types import NO_CLASS, Answer, CorpusRow, Kind, PairsRow, TextPair


def pairs_of(
    row: CorpusRow, class_names: Sequence[str], corpus: Corpus, labels: Iterable[int] | None = None
) -> PairsRow:
    """Collect the texts that each pair of an image contrasts with its regions (paper, section 3.2).

    Background answers about the image as a whole count for each of its pairs; foreground answers
    about it are prompts of the classes that they name.

    Args:
        row: All answers about the image.
        class_names: Names in the order of their indices.
        corpus: Says which texts are wanted: answers, or the class name and a fixed list.
        labels: Classes of the image, where they are known; the classes that it was asked about
            belong to it anyway.
    """
    answers, wanted = row["answers"], corpus.texts.backgrounds
    labels = sorted({*(labels or ()), *(answer["label"] for answer in answers)} - {NO_CLASS})
    return PairsRow(
        name=row["name"],
        pairs=[
            TextPair(
                label=label,
                foreground=_foreground(answers, label, class_names[label], corpus),
                background=background_texts(
                    _lemmas(answers, (label, NO_CLASS), "bg") if wanted == "answers" else wanted,
                    class_names[label],
                ),
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
    about_class = _lemmas(answers, (label,), "fg")
    about_image = _lemmas(answers, (NO_CLASS,), "fg")
    return [
        *(foreground_text(lemma, class_name, expected) for lemma in about_class),
        *(lemma for lemma in about_image if names_class(lemma, expected)),
    ]


def _lemmas(answers: Iterable[Answer], labels: Sequence[int], kind: Kind) -> list[str]:
    return [
        answer["lemma"]
        for answer in answers
        if answer["label"] in labels and answer["kind"] == kind
    ]


def texts_of(rows: Iterable[PairsRow]) -> set[str]:
    """All texts of the pairs."""
    return {
        text
        for row in rows
        for pair in row["pairs"]
        for text in (*pair["foreground"], *pair["background"])
    }
