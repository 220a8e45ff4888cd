"""Show what the corpus of a run holds: figures, what comes with each class, answers."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TypedDict, cast

from markupsafe import Markup

from qaclims_ray.corpus.stats.counts import CorpusCounts, labels_of
from qaclims_ray.corpus.stats.figures import backgrounds, first, frequencies, numbers
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.report.charts import heat_map
from qaclims_ray.report.render import percent, render

_NUM_COMMON = 6
_NUM_ANSWERS = 12
_NUM_COLUMNS = 24
_NOTED = 0.1
"""Share of a class's pairs from which a lift is no accident of few images."""


class Background(TypedDict):
    """A background answer of a class: a row of `stats.backgrounds`."""

    label: int
    lemma: str
    share: float
    lift: float


def corpus_summary(
    tally: CorpusCounts, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> Markup:
    """Show the figures, common backgrounds and frequent answers of a corpus.

    Args:
        tally: Counts of the corpus.
        class_names: Names in the order of their indices.
        more_names: Further expected names of classes.
    """
    found = cast(list[Background], backgrounds(tally).to_pylist())
    per_class = {label: list(rows) for label, rows in groupby(found, lambda row: row["label"])}
    named = {
        label: (titles(class_names)[label], per_class.get(label, [])) for label in labels_of(tally)
    }
    table = first(frequencies(tally, ["kind"], ["lemma"]), ["kind"], _NUM_ANSWERS).to_pylist()
    return render(
        "corpus.html",
        tiles=_tiles(tally, class_names, more_names),
        heat_map=_common_heat_map(list(named.values())),
        num_common=_NUM_COMMON,
        common=[(name, rows[:_NUM_COMMON]) for name, rows in named.values()],
        answers={
            title: [row for row in table if row["kind"] == kind]
            for kind, title in (
                ("fg", "What the objects are called"),
                ("bg", "What is around them"),
            )
        },
    )


def _common_heat_map(classes: Sequence[tuple[str, list[Background]]]) -> Markup:
    """Draw classes against the backgrounds that are the most frequent of one of them."""
    num = max(1, _NUM_COLUMNS // max(1, len(classes)))
    texts = list(dict.fromkeys(row["lemma"] for _, rows in classes for row in rows[:num]))
    texts = texts[: 2 * _NUM_COLUMNS]
    if not texts:
        return Markup()
    column_of = {text: column for column, text in enumerate(texts)}
    cells = {
        (i, column_of[row["lemma"]]): (
            row["share"],
            f"{row['lift']:.1f}" if row["share"] >= _NOTED else "",
        )
        for i, (_, rows) in enumerate(classes)
        for row in rows
        if row["lemma"] in column_of
    }
    names, words = [name for name, _ in classes], [text or "(empty)" for text in texts]
    return heat_map(names, words, cells, title="What comes with each class")


def _tiles(
    tally: CorpusCounts, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    found = numbers(tally, class_names, more_names)
    words = found["mean_words"]
    return {
        "images": f"{tally.num_images:,}",
        "pairs": f"{found['pairs']:,}",
        "answers": f"{found['answers']:,}",
        "different answers": f"{found['unique_answers']:,}",
        "words each": "n/a" if words is None else f"{words:.1f}",
        "foregrounds that name a kind": percent(found["kind_share"]),
        "pairs without background": percent(found["empty_share"]),
    }
