"""Read the corpus as tables of one row per answer, of bounded size."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

ANSWER = ("label", "kind", "question", "answer", "lemma")
_IMAGE = "(image)"
_ROWS = 4096


def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join small batches to 4,096 images or more: Arrow is fast on large tables."""
    pending: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        pending.append(batch)
        num_rows += batch.num_rows
        if num_rows >= _ROWS:
            yield pa.Table.from_batches(pending)
            pending, num_rows = [], 0
    if pending:
        yield pa.Table.from_batches(pending)


def flatten(rows: pa.Table) -> pa.Table:
    """Make one row per answer: `image`, the row of its image, and the fields of the answer."""
    answers = rows["answers"].combine_chunks()
    flat = answers.flatten()
    columns = {name: flat.field(name) for name in ANSWER}
    return pa.table({"image": answers.value_parent_indices(), **columns})


def titles(class_names: Sequence[str]) -> list[str]:
    """The titles of all labels. The last is that of `NO_CLASS`, -1: the image as a whole."""
    return [*class_names, _IMAGE]
