"""What the corpus of a run holds, as HTML: figures, what comes with each class, answers."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import numpy as np

from qaclims_ray.corpus.stats.counts import CorpusCounts, labels_of
from qaclims_ray.corpus.stats.figures import backgrounds, first, frequencies, numbers
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.report.charts import heat_map

_NUM_COMMON = 6
_NUM_ANSWERS = 12
_NUM_COLUMNS = 24
_NOTED = 0.1
"""Share of a class's pairs from which a lift is no accident of few images."""
_KINDS = {"fg": "What the objects are called", "bg": "What is around them"}

Common = dict[int, list[dict[str, Any]]]
"""For each class its most frequent backgrounds: rows of `stats.backgrounds`."""


def corpus_summary(
    tally: CorpusCounts, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> str:
    """The part of the page on the corpus.

    Args:
        tally: Counts of the corpus.
        class_names: Names in the order of their indices.
        more_names: Further expected names of classes.
    """
    rows = first(backgrounds(tally), ["label"], _NUM_COMMON).to_pylist()
    named = {label: list(found) for label, found in groupby(rows, lambda row: row["label"])}
    common: Common = {label: named.get(label, []) for label in labels_of(tally)}
    return (
        f"{_tiles(tally, class_names, more_names)}<h3>What comes with each class</h3>"
        '<p class="lead">Background answers that the most images of a class share, and so what its '
        "CAMs are in danger of including. Colour: share of the class's pairs that name it; figure: "
        "lift, how many times as often as all pairs do.</p>"
        f"{common_heat_map(tally, common, class_names)}"
        f"<details><summary>The {_NUM_COMMON} most frequent backgrounds of each class</summary>"
        f"{common_table(common, class_names)}</details>"
        f'<div class="two">{"".join(_answers(tally, kind) for kind in _KINDS)}</div>'
    )


def common_heat_map(tally: CorpusCounts, common: Common, class_names: Sequence[str]) -> str:
    """Classes against the backgrounds that are the most frequent of one of them."""
    texts = _columns(common)
    if not texts:
        return ""
    row_of = {label: row for row, label in enumerate(common)}
    column_of = {text: column for column, text in enumerate(texts)}
    shares = np.zeros((len(common), len(texts)))
    notes = [[""] * len(texts) for _ in common]
    table = backgrounds(tally)
    for found in table.filter(np.isin(table["lemma"].to_pylist(), texts)).to_pylist():
        row, column = row_of[found["label"]], column_of[found["lemma"]]
        shares[row, column] = found["share"]
        if found["share"] >= _NOTED:
            notes[row][column] = f"{found['lift']:.1f}"
    names = [titles(class_names)[label] for label in common]
    words = [_word(text) for text in texts]
    return heat_map(names, words, shares, notes, title="What comes with each class")


def common_table(common: Common, class_names: Sequence[str]) -> str:
    """A row per class with its most frequent background answers."""
    rows = "".join(
        f"<tr><th>{escape(titles(class_names)[label])}</th><td>"
        + "".join(map(_share_chip, found))
        + "</td></tr>"
        for label, found in common.items()
    )
    return f'<table class="common"><tbody>{rows}</tbody></table>'


def _columns(common: Common) -> list[str]:
    """As many backgrounds of each class, in its order, as there is room for; each once."""
    num = max(1, _NUM_COLUMNS // max(1, len(common)))
    texts = dict.fromkeys(row["lemma"] for found in common.values() for row in found[:num])
    return list(texts)[: 2 * _NUM_COLUMNS]


def _tiles(
    tally: CorpusCounts, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> str:
    found = numbers(tally, class_names, more_names)
    words = found["mean_words"]
    figures = {
        "images": f"{tally.num_images:,}",
        "pairs": f"{found['pairs']:,}",
        "answers": f"{found['answers']:,}",
        "different answers": f"{found['unique_answers']:,}",
        "words each": "n/a" if words is None else f"{words:.1f}",
        "foregrounds that name a kind": _percent(found["kind_share"]),
        "pairs without background": _percent(found["empty_share"]),
    }
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    return f'<dl class="tiles">{tiles}</dl>'


def _answers(tally: CorpusCounts, kind: str) -> str:
    """The most frequent answers of a kind, over all classes, as bars."""
    table = frequencies(tally, ["kind"], ["lemma"])
    rows = [row for row in first(table, ["kind"], _NUM_ANSWERS).to_pylist() if row["kind"] == kind]
    longest = max((row["share"] for row in rows), default=1.0)
    bars = "".join(
        f'<div class="class"><span>{escape(_word(row["lemma"]))}</span><div><div class="bar ours">'
        f'<i style="width:{100 * row["share"] / longest:.1f}%"></i>'
        f"<b>{100 * row['share']:.1f}%</b></div></div></div>"
        for row in rows
    )
    return f'<div><h3>{_KINDS[kind]}</h3><div class="bars">{bars}</div></div>'


def _share_chip(row: Mapping[str, Any]) -> str:
    share = f"{100 * row['share']:.0f}%"
    return (
        f'<em style="--share:{share}">{escape(_word(row["lemma"]))} '
        f"<small>{share} &times;{row['lift']:.1f}</small></em>"
    )


def _word(lemma: str) -> str:
    return lemma or "(empty)"


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.1f}%"
