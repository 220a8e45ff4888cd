"""Count a corpus in one pass, batch by batch, with Arrow.

Memory grows with the number of different answers, not with that of images.
"""

import re
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.questions import ask, templates_of
from qaclims_ray.corpus.stats.flat import ANSWER, chunks, flatten, titles
from qaclims_ray.types import SCHEMAS


class Tally(NamedTuple):
    """Counts of a corpus: tables of the columns named and `count`. Label -1 is no class."""

    num_images: int
    answers: pa.Table
    """label, kind, question (as a template), answer, lemma: times that it was given."""
    pairs: pa.Table
    """label: pairs (image, class) that were asked about."""
    filled: pa.Table
    """label: those of them whose background set is not empty."""
    backgrounds: pa.Table
    """label, lemma: pairs whose background set holds it."""


def count(
    batches: Iterable[pa.RecordBatch], class_names: Sequence[str], questions: Questions
) -> Tally:
    """Count a corpus.

    Background sets are those of the artifact `pairs`: of each pair the unique lemmas of its
    background answers without the class name.

    Args:
        batches: Of the artifact `corpus`, with the column `answers` at least.
        class_names: Names in the order of their indices.
        questions: Templates that were asked; those of answers from elsewhere are guessed.
    """
    empty = _count(SCHEMAS["corpus"].empty_table(), class_names)
    tally = reduce(_add, (_count(rows, class_names) for rows in chunks(batches)), empty)
    templates = [text for kind in templates_of(questions).values() for text in kind]
    named = titles(class_names)
    return tally._replace(answers=_with_templates(tally.answers, named, templates))


def of_class(tally: Tally, label: int) -> Tally:
    """What the tally says of one class; its images are its pairs."""
    tables = [table.filter(pc.field("label") == label) for table in tally[1:]]
    return Tally(int(ints(tables[1], "count").sum()), *tables)


def labels_of(tally: Tally) -> list[int]:
    """The classes that were asked about, in their order; -1, the whole image, comes last."""
    return sorted(tally.pairs["label"].to_pylist(), key=lambda label: (label < 0, label))


def add_up(table: pa.Table) -> pa.Table:
    """Unique rows with the sums of their counts."""
    keys = [name for name in table.column_names if name != "count"]
    summed = table.group_by(keys, use_threads=False).aggregate([("count", "sum")])
    return summed.rename_columns([*keys, "count"])


def ints(table: pa.Table, column: str) -> Int[np.ndarray, "rows"]:
    """A column of whole numbers."""
    return table[column].to_numpy().astype(np.int64)


def _count(rows: pa.Table, class_names: Sequence[str]) -> Tally:
    flat = flatten(rows)
    asked = _unique(flat, ["image", "label"])
    named = _unique(flat.filter(pc.field("kind") == "bg"), ["image", "label", "lemma"])
    named = named.filter(_is_other(named, class_names))
    return Tally(
        rows.num_rows,
        _times(flat.select(list(ANSWER))),
        _times(asked.select(["label"])),
        _times(_unique(named, ["image", "label"]).select(["label"])),
        _times(named.select(["label", "lemma"])),
    )


def _add(one: Tally, other: Tally) -> Tally:
    tables = [add_up(pa.concat_tables(both)) for both in zip(one[1:], other[1:], strict=True)]
    return Tally(one.num_images + other.num_images, *tables)


def _unique(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    return table.group_by(list(keys), use_threads=False).aggregate([])


def _times(table: pa.Table) -> pa.Table:
    ones = pa.array(np.ones(len(table), np.int64))
    return add_up(table.append_column("count", ones))


def _is_other(named: pa.Table, class_names: Sequence[str]) -> pa.ChunkedArray:
    """Where a lemma is not its class's name; whatever is no class has none."""
    names = pa.array([*class_names, None], pa.string())
    own = names.take(pa.array(ints(named, "label") % len(names)))
    return pc.call_function("not_equal", [named["lemma"], own]).fill_null(True)


def _with_templates(answers: pa.Table, names: Sequence[str], templates: Sequence[str]) -> pa.Table:
    """The questions with `{}` in place of the class name, as they stand in the configuration."""
    asked = answers.select(["label", "question"])
    known = {
        (row["label"], row["question"]): _template(
            row["question"], names[int(row["label"])], templates
        )
        for row in _unique(asked, ["label", "question"]).to_pylist()
    }
    pairs = zip(*(column.to_pylist() for column in asked.columns), strict=True)
    column = pa.array([known[pair] for pair in pairs], pa.string())
    index = answers.column_names.index("question")
    return add_up(answers.set_column(index, "question", column))


def _template(question: str, name: str, templates: Sequence[str]) -> str:
    """The template that makes the question: a class may be called like another of its words."""
    guess = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "{}", question)
    asked = zip(templates, ask(templates, name), strict=True)
    return next((template for template, made in asked if made == question), guess)
