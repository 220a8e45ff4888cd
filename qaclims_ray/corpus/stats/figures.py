"""Statistics of a corpus, from its counts: frequencies of answers, what comes with each class."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from qaclims_ray.corpus.questions import expected_names, foreground_text
from qaclims_ray.corpus.stats.counts import Tally, add_up, ints
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.types import NO_CLASS


class Numbers(TypedDict):
    """Figures of the whole corpus or of one class; None where there is nothing to divide by."""

    pairs: int
    """(image, class) that were asked about."""
    answers: int
    unique_answers: int
    """Different ones, as generated."""
    mean_words: float | None
    """Words of an answer as generated."""
    kind_share: float | None
    """Share of the foreground answers about a class that name a kind of it (`names_kind`)."""
    empty_pairs: int
    """Pairs with an empty background set, which training skips."""
    empty_share: float | None


def names_kind(lemma: str, class_name: str, more_names: Sequence[str] = ()) -> bool:
    """Whether a foreground answer says more than the class.

    It does where its prompt (`questions.foreground_text`) is none of the class's expected names:
    "metro" ("metro train") and "old train" name a kind of train, "train" and "" do not, nor does
    "table" of a dining table. Case matters, as in the prompt.

    Args:
        lemma: The answer as a noun.
        class_name: Of the pair.
        more_names: Further expected names of the class, as the configuration gives them.
    """
    expected = (*expected_names(class_name), *more_names)
    return foreground_text(lemma, class_name, expected).strip() not in expected


def numbers(
    tally: Tally, class_names: Sequence[str], more_names: Mapping[str, Sequence[str]]
) -> Numbers:
    """Figures of all that is in a tally.

    Args:
        tally: Of a corpus, or of one class (`tally.of_class`).
        class_names: Names in the order of their indices.
        more_names: Further expected names of classes.
    """
    counts = ints(tally.answers, "count")
    num_pairs, num_filled = (int(ints(table, "count").sum()) for table in tally[2:4])
    words = np.array([len(text.split()) for text in tally.answers["answer"].to_pylist()], np.int64)
    return Numbers(
        pairs=num_pairs,
        answers=int(counts.sum()),
        unique_answers=len(tally.answers["answer"].unique()),
        mean_words=_ratio(int(words @ counts), int(counts.sum())),
        kind_share=_kind_share(tally.answers, class_names, more_names),
        empty_pairs=num_pairs - num_filled,
        empty_share=_ratio(num_pairs - num_filled, num_pairs),
    )


def frequencies(tally: Tally, group: Sequence[str], told: Sequence[str]) -> pa.Table:
    """How often each answer was given.

    Args:
        tally: Of a corpus, or of one class.
        group: Some of label, kind, question: whose answers are counted together.
        told: Some of answer, lemma: what makes two answers different.

    Returns:
        Columns of `group` and `told`, count, and share of the group's answers. Foreground comes
        before background, and in each group the most frequent first.
    """
    table = add_up(tally.answers.select([*group, *told, "count"]))
    order = [(key, "descending" if key == "kind" else "ascending") for key in group]
    table = table.sort_by(
        [*order, ("count", "descending"), *((name, "ascending") for name in told)]
    )
    groups, counts = _groups(table, group), ints(table, "count")
    return table.append_column("share", pa.array(counts / np.bincount(groups, counts)[groups]))


def backgrounds(tally: Tally) -> pa.Table:
    """What is named as background of each class: the co-occurrence that CAMs suffer from.

    Returns:
        Columns label, lemma, count (pairs of the class that it is a background of), share of the
        class's pairs, and lift: this share divided by that of all pairs; above 1 the background
        belongs to this class more than to others. In each class the most frequent comes first.
    """
    order = [("label", "ascending"), ("count", "descending"), ("lemma", "ascending")]
    table = tally.backgrounds.sort_by(order)
    counts, lemmas = ints(table, "count"), _groups(table, ["lemma"])
    # NO_CLASS becomes 0: arrays have no index below it.
    pairs = np.bincount(ints(tally.pairs, "label") - NO_CLASS, ints(tally.pairs, "count"))
    share = counts / pairs[ints(table, "label") - NO_CLASS]
    overall = np.bincount(lemmas, counts)[lemmas] / pairs.sum()
    table = table.append_column("share", pa.array(share))
    return table.append_column("lift", pa.array(share / overall))


def first(table: pa.Table, group: Sequence[str], num: int) -> pa.Table:
    """The first `num` rows of each run of equal values in the columns `group`."""
    groups = _groups(table, group)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    lengths = np.diff(starts, append=len(groups))
    rank = np.arange(len(groups)) - np.repeat(starts, lengths)
    return table.filter(pa.array(rank < num))


def with_class(table: pa.Table, class_names: Sequence[str]) -> pa.Table:
    """The table with `class`, the name, in place of the column `label`, which is the first."""
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
