"""Export the corpus as one row per answer: JSONL or CSV, plain or gzipped, or Parquet.

For the Hub, see `hub`.
"""

import gzip
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import IO, TypeAlias

import pyarrow as pa

from qaclims_ray.corpus.stats.figures import with_class
from qaclims_ray.corpus.stats.flat import chunks, flatten
from qaclims_ray.storage.csv import csv_lines
from qaclims_ray.storage.files import staged_open
from qaclims_ray.storage.parquet import write_tables
from qaclims_ray.types import SCHEMAS

PARQUET = ".parquet"
Lines: TypeAlias = Callable[[pa.Table, bool], bytes]
"""Writes rows as lines; the flag says whether they are the first, which a header precedes."""


def export(batches: Iterable[pa.RecordBatch], class_names: Sequence[str], uri: str) -> int:
    """Write one row per answer: name, class, kind, question, answer, lemma.

    The order is the corpus's own, and equal corpora make equal files. The file appears whole under
    its name, or not at all; about 4,096 images are held in memory.

    Args:
        batches: Rows of the artifact `corpus`.
        class_names: Names in the order of their indices.
        uri: A path or URL that ends in .jsonl, .csv, .jsonl.gz, .csv.gz or .parquet.

    Returns:
        Number of answers.

    Raises:
        ValueError: the URI ends otherwise, or its storage refuses.
    """
    num_answers = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal num_answers
        for table in answer_tables(batches, class_names):
            num_answers += len(table)
            yield table

    check_export(uri)
    if uri.endswith(PARQUET):
        write_tables(counted(), uri)
        return num_answers
    lines = _FORMATS[_suffix(uri)]
    with _open(uri) as file:
        for number, table in enumerate(counted()):
            file.write(lines(table, number == 0))
    return num_answers


def check_export(uri: str) -> None:
    """Check that the name of a file says how it is written.

    Raises:
        ValueError: it ends in no known suffix.
    """
    if _suffix(uri) not in (*_FORMATS, PARQUET):
        raise ValueError(
            f"--export {uri!r}: give a name in .jsonl, .csv, .jsonl.gz, .csv.gz or .parquet, or a "
            "folder with a slash at its end"
        )


def _suffix(uri: str) -> str:
    if uri.endswith(PARQUET):
        return PARQUET
    plain = uri.removesuffix(".gz")
    return next((suffix for suffix in _FORMATS if plain.endswith(suffix)), "")


def _json_lines(table: pa.Table, _: bool) -> bytes:
    rows = (json.dumps(row, ensure_ascii=False) for row in table.to_pylist())
    return "".join(f"{row}\n" for row in rows).encode()


_FORMATS: dict[str, Lines] = {".jsonl": _json_lines, ".csv": csv_lines}


def answer_tables(
    batches: Iterable[pa.RecordBatch], class_names: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield tables with the columns of the export; the first is empty, so there is a header."""
    for rows in chain([SCHEMAS["corpus"].empty_table()], chunks(batches)):
        flat = flatten(rows)
        names = rows["name"].combine_chunks().take(flat["image"].combine_chunks())
        table = with_class(flat.drop_columns("image"), class_names)
        yield table.add_column(0, "name", names)


@contextmanager
def _open(uri: str) -> Generator[IO[bytes] | gzip.GzipFile]:
    """A file for writing that appears whole or not at all, compressed if its name says so."""
    with staged_open(uri) as file:
        if uri.endswith(".gz"):
            # Neither name nor time within: equal content makes equal files.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                yield packed
        else:
            yield file
