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
from qaclims_ray.corpus.stats.flat import ANSWER, chunks, flatten, titles
from qaclims_ray.types import SCHEMAS


class CorpusCounts(NamedTuple):
    """Counts of a corpus: tables of the columns named and `count`. Label -1 is no class."""

    num_images: int
    answers: pa.Table
    """label, kind, question (as a template), answer, lemma: times that the answer was given."""
    pairs: pa.Table
    """label: pairs (image, class) that were asked about."""
    filled: pa.Table
    """label: pairs whose background set is not empty."""
    backgrounds: pa.Table
    """label, lemma: pairs whose background set holds the lemma."""


def count_answers(
    batches: Iterable[pa.RecordBatch], class_names: Sequence[str], questions: Questions
) -> CorpusCounts:
    """Count the answers and the background sets of a corpus.

    Background sets are those of the artifact `pairs`: of each pair the unique lemmas of its
    background answers without the class name.

    Args:
        batches: Rows of the artifact `corpus`, with the column `answers` at least.
        class_names: Names in the order of their indices.
        questions: Templates that were asked; those of answers from elsewhere are guessed.
    """

    def add(one: CorpusCounts, other: CorpusCounts) -> CorpusCounts:
        tables = [add_up(pa.concat_tables(both)) for both in zip(one[1:], other[1:], strict=True)]
        return CorpusCounts(one.num_images + other.num_images, *tables)

    empty = _count(SCHEMAS["corpus"].empty_table(), class_names)
    counts = reduce(add, (_count(rows, class_names) for rows in chunks(batches)), empty)
    return counts._replace(answers=_with_templates(counts.answers, class_names, questions))


def _count(rows: pa.Table, class_names: Sequence[str]) -> CorpusCounts:
    flat = flatten(rows)
    pairs = _unique(flat, ["image", "label"])
    named = _unique(flat.filter(pc.field("kind") == "bg"), ["image", "label", "lemma"])
    # A background is not called like its class; the image as a whole (-1) has no name.
    names = pa.array([*class_names, None], pa.string())
    own = names.take(pa.array(ints(named, "label") % len(names)))
    named = named.filter(pc.call_function("not_equal", [named["lemma"], own]).fill_null(True))
    return CorpusCounts(
        rows.num_rows,
        _times(flat.select(list(ANSWER))),
        _times(pairs.select(["label"])),
        _times(_unique(named, ["image", "label"]).select(["label"])),
        _times(named.select(["label", "lemma"])),
    )


def _unique(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    return table.group_by(list(keys), use_threads=False).aggregate([])


def _times(table: pa.Table) -> pa.Table:
    ones = pa.array(np.ones(len(table), np.int64))
    return add_up(table.append_column("count", ones))


def _with_templates(
    answers: pa.Table, class_names: Sequence[str], questions: Questions
) -> pa.Table:
    """The answers with templates, as they stand in the configuration, in place of questions."""
    names = titles(class_names)
    templates = [template for kind in questions.templates.values() for template in kind]
    asked = list(zip(answers["label"].to_pylist(), answers["question"].to_pylist(), strict=True))
    template_of = {
        (label, question): _template(question, names[label], templates)
        for label, question in dict.fromkeys(asked)
    }
    column = pa.array([template_of[pair] for pair in asked], pa.string())
    index = answers.column_names.index("question")
    return add_up(answers.set_column(index, "question", column))


def _template(question: str, name: str, templates: Sequence[str]) -> str:
    """The template that makes the question; of an unknown one, the question without the name.

    Templates are tried first, as a class may be called like another word of the question.
    """
    for template in templates:
        if template.replace("{}", name) == question:
            return template
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "{}", question)


def of_class(counts: CorpusCounts, label: int) -> CorpusCounts:
    """The counts of one class; its images are its pairs."""
    tables = [table.filter(pc.field("label") == label) for table in counts[1:]]
    return CorpusCounts(int(ints(tables[1], "count").sum()), *tables)


def labels_of(counts: CorpusCounts) -> list[int]:
    """The classes that were asked about, in their order; -1, the whole image, comes last."""
    return sorted(counts.pairs["label"].to_pylist(), key=lambda label: (label < 0, label))


def add_up(table: pa.Table) -> pa.Table:
    """Unique rows with the sums of their counts."""
    keys = [name for name in table.column_names if name != "count"]
    summed = table.group_by(keys, use_threads=False).aggregate([("count", "sum")])
    return summed.rename_columns([*keys, "count"])


def ints(table: pa.Table, column: str) -> Int[np.ndarray, "rows"]:
    """A column of whole numbers as an array."""
    return table[column].to_numpy().astype(np.int64)
