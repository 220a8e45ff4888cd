"""Compute statistics from the counts of a corpus: frequencies, and what comes with each class."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from qaclims_ray.corpus.questions import expected_names, foreground_text
from qaclims_ray.corpus.stats.counts import CorpusCounts, add_up, ints
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.types import NO_CLASS


class Numbers(TypedDict):
    """Figures of the whole corpus or of one class; None where there is nothing to divide by."""

    pairs: int
    """Pairs (image, class) that were asked about."""
    answers: int
    unique_answers: int
    """Different answers, as generated."""
    mean_words: float | None
    """Mean number of words of an answer as generated."""
    kind_share: float | None
    """Share of the foreground answers about a class that name a kind of it (`names_kind`)."""
    empty_pairs: int
    """Pairs with an empty background set, which training skips."""
    empty_share: float | None
    """Share of the pairs that have an empty background set."""


def names_kind(lemma: str, class_name: str, more_names: Sequence[str] = ()) -> bool:
    """Whether a foreground answer says more than the class.

    It does where its prompt (`questions.foreground_text`) is none of the class's expected names:
    "metro" ("metro train") and "old train" name a kind of train, "train" and "" do not, nor does
    "table" of a dining table. Case matters, as in the prompt.

    Args:
        lemma: The answer as a noun.
        class_name: Name of the pair's class.
        more_names: Further expected names of the class, as the configuration gives them.
    """
    expected = (*expected_names(class_name), *more_names)
    return foreground_text(lemma, class_name, expected).strip() not in expected


def numbers(
    counts: CorpusCounts, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> Numbers:
    """Compute the figures of a corpus, or of one class.

    Args:
        counts: Counts of a corpus, or of one class (`counts.of_class`).
        class_names: Names in the order of their indices.
        more_names: Further expected names of classes.
    """
    times = ints(counts.answers, "count")
    num_pairs = int(ints(counts.pairs, "count").sum())
    num_filled = int(ints(counts.filled, "count").sum())
    words = np.array([len(text.split()) for text in counts.answers["answer"].to_pylist()], np.int64)
    return Numbers(
        pairs=num_pairs,
        answers=int(times.sum()),
        unique_answers=len(counts.answers["answer"].unique()),
        mean_words=_ratio(int(words @ times), int(times.sum())),
        kind_share=_kind_share(counts.answers, class_names, more_names),
        empty_pairs=num_pairs - num_filled,
        empty_share=_ratio(num_pairs - num_filled, num_pairs),
    )


def frequencies(counts: CorpusCounts, group: Sequence[str], texts: Sequence[str]) -> pa.Table:
    """Count how often each answer was given.

    Args:
        counts: Counts of a corpus, or of one class.
        group: Columns by which answers are grouped: some of label, kind, question.
        texts: Columns that make two answers different: some of answer, lemma.

    Returns:
        Columns of `group` and `texts`, count, and share of the group's answers. Foreground comes
        before background, and in each group the most frequent answer first.
    """
    table = add_up(counts.answers.select([*group, *texts, "count"]))
    order = [(key, "descending" if key == "kind" else "ascending") for key in group]
    table = table.sort_by(
        [*order, ("count", "descending"), *((name, "ascending") for name in texts)]
    )
    groups, times = _groups(table, group), ints(table, "count")
    return table.append_column("share", pa.array(times / np.bincount(groups, times)[groups]))


def backgrounds(counts: CorpusCounts) -> pa.Table:
    """Count what comes with each class as its background: the co-occurrence that CAMs suffer from.

    Returns:
        Columns label, lemma, count (pairs of the class that it is a background of), share of the
        class's pairs, and lift: this share divided by that of all pairs; above 1 the background
        belongs to this class more than to others. In each class the most frequent comes first.
    """
    order = [("label", "ascending"), ("count", "descending"), ("lemma", "ascending")]
    table = counts.backgrounds.sort_by(order)
    times, lemmas = ints(table, "count"), _groups(table, ["lemma"])
    # NO_CLASS becomes 0: arrays have no index below it.
    pairs = np.bincount(ints(counts.pairs, "label") - NO_CLASS, ints(counts.pairs, "count"))
    share = times / pairs[ints(table, "label") - NO_CLASS]
    overall = np.bincount(lemmas, times)[lemmas] / pairs.sum()
    table = table.append_column("share", pa.array(share))
    return table.append_column("lift", pa.array(share / overall))


def first(table: pa.Table, group: Sequence[str], num: int) -> pa.Table:
    """Keep the first `num` rows of each run of equal values in the columns `group`."""
    groups = _groups(table, group)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    lengths = np.diff(starts, append=len(groups))
    rank = np.arange(len(groups)) - np.repeat(starts, lengths)
    return table.filter(pa.array(rank < num))


def with_class(table: pa.Table, class_names: Sequence[str]) -> pa.Table:
    """Replace the first column, `label`, by `class`, the name."""
    names = pa.array(titles(class_names))
    labels = ints(table, "label") % len(names)
    return table.set_column(0, "class", names.take(pa.array(labels)))


def _kind_share(
    answers: pa.Table, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> float | None:
    asked = add_up(answers.select(["label", "kind", "lemma", "count"])).to_pylist()
    foreground = [row for row in asked if row["kind"] == "fg" and row["label"] != NO_CLASS]
    naming = 0
    for row in foreground:
        name = class_names[int(row["label"])]
        naming += row["count"] * names_kind(row["lemma"], name, more_names.get(name, ()))
    return _ratio(naming, sum(row["count"] for row in foreground))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _groups(table: pa.Table, columns: Sequence[str]) -> Int[np.ndarray, "rows"]:
    """A number for each row, equal where the columns are."""
    groups = np.zeros(len(table), np.int64)
    for name in columns:
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        groups = np.unique(groups * (len(table) + 1) + codes, return_inverse=True)[1]
    return groups
