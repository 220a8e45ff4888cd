"""Import a corpus from lines of JSON, one for each answer, as `corpus-stats --export` writes them.

    {"name": "a", "class": "cat", "kind": "fg", "question": "…", "answer": "cats", "lemma": "cat"}

Without `lemma`, the answer is lemmatised as those of engines are. The class `(image)` stands for
questions about no class.
"""

import gzip
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.json as pj

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.lemmas import Lemmatise, lemma, read_wordnet
from qaclims_ray.corpus.published import Converted, fill_corpus
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import names_of
from qaclims_ray.storage.files import Stream, open_stream
from qaclims_ray.storage.sorting import RowSorter
from qaclims_ray.types import NO_CLASS, Answer, CorpusRow, ImageRow

log = logging.getLogger(__name__)

_COLUMNS = ("name", "class", "kind", "question", "answer", "lemma")
_REQUIRED = _COLUMNS[:-1]
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])
_EXPECTED = f"expected lines with the keys {', '.join(_REQUIRED)}, and maybe lemma"
_PIECE, _BLOCK = 2**22, 2**24
"""Bytes that are read and parsed at a time; a line is shorter than the latter."""
_Line: TypeAlias = Mapping[str, Any]
"""One answer, by `_COLUMNS`."""


def import_answers(experiment: Experiment, file: str, overwrite: bool) -> str:
    """Fill the artifact `corpus` from lines of answers; return its summary line.

    An image of the run that has labels and no line is recorded as an error, as is one of whose
    lines one is of no class. Lines about other images are left out, with a warning.

    Args:
        experiment: The run, whose artifact `images` is complete.
        file: Path or URL of a .jsonl or .jsonl.gz.
        overwrite: Make the artifact anew.

    Raises:
        ValueError: the file holds something else, or is about none of the images.
    """
    return make(experiment, "corpus", partial(_import, experiment, file), overwrite)


def _import(experiment: Experiment, file: str, target: Artifact) -> Built:
    images, lines = artifact(experiment, "images"), RowSorter(_SCHEMA, ["name"])
    lines.add(read_answers(file))
    num_answered, num_others = count_images(lines, names_of(images))
    if num_others == num_answered:
        raise ValueError(f"{file}: its answers are about other images, none of {images.uri}")
    if num_others:
        log.warning("%s: answers about %d images that the run lacks are left out", file, num_others)
    folder = experiment.corpus.wordnet
    lemmatise = lemma if folder is None else read_wordnet(folder)
    titled, walk = titles(class_names(images)), AnswerWalk(lines)

    def converter(names: Sequence[str]) -> Converted:
        about = walk.about(names)
        return lambda rows: [
            corpus_row(row, about.get(row["name"], ()), titled, lemmatise) for row in rows
        ]

    return fill_corpus(experiment, target, converter, [file])


def read_answers(file: str) -> Iterator[_Line]:
    """Read lines of answers, some of them at a time.

    Raises:
        ValueError: a line is no JSON, or lacks one of the keys.
    """
    num_lines = 0
    with open_stream(file) as stream:
        content: Stream = gzip.GzipFile(fileobj=stream) if file.endswith(".gz") else stream
        for piece in _pieces(content):
            table = _parse(piece, file, num_lines)
            num_lines += piece.count(b"\n")
            for batch in table.to_batches(max_chunksize=1024):
                yield from batch.to_pylist()


def _pieces(content: Stream) -> Iterator[bytes]:
    """Cut a file at ends of lines, so that no line is in two pieces; an empty one is one piece."""
    piece, is_first = b"", True
    while chunk := content.read(_PIECE):
        lines, end, rest = chunk.rpartition(b"\n")
        if end:
            yield piece + lines + end
            piece, is_first = rest, False
        else:
            piece += rest
    if is_first or piece.strip():
        yield piece


def _parse(piece: bytes, file: str, num_lines: int) -> pa.Table:
    """Parse lines, so many of which came before."""
    if num_lines and not piece.strip():
        return _SCHEMA.empty_table()
    try:
        table = pj.read_json(
            BytesIO(piece),
            read_options=pj.ReadOptions(block_size=_BLOCK),
            parse_options=pj.ParseOptions(_SCHEMA, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        where = f" (rows count from line {num_lines + 1})" if num_lines else ""
        raise ValueError(f"{file}: {error}{where}: {_EXPECTED}") from error
    for name in _REQUIRED:
        if table[name].null_count:
            line = num_lines + table[name].is_null().to_pylist().index(True) + 1
            raise ValueError(f"{file}: line {line} lacks {name!r}: {_EXPECTED}")
    return table.select(_COLUMNS)


def count_images(lines: Iterable[_Line], names: Iterable[str]) -> tuple[int, int]:
    """Count the images that lines are about, and those of them that are none of `names`.

    Both are sorted.
    """
    there, num_images, num_others = iter(names), 0, 0
    last = next(there, None)
    for name, _ in groupby(lines, itemgetter("name")):
        while last is not None and last < name:
            last = next(there, None)
        num_images += 1
        num_others += last != name
    return num_images, num_others


class AnswerWalk:
    """Looks up answers about images that are asked for in the order of their names."""

    def __init__(self, lines: Iterable[_Line]) -> None:
        """Take lines that are sorted by image."""
        self._images = groupby(lines, itemgetter("name"))
        self._next = self._take()

    def about(self, names: Sequence[str]) -> dict[str, list[_Line]]:
        """Return the lines about images, for those that have some."""
        found: dict[str, list[_Line]] = {}
        for name in names:
            while self._next is not None and self._next[0] < name:
                self._next = self._take()
            if self._next is not None and self._next[0] == name:
                found[name] = self._next[1]
        return found

    def _take(self) -> tuple[str, list[_Line]] | None:
        taken = next(self._images, None)
        return None if taken is None else (taken[0], list(taken[1]))


def corpus_row(
    image: ImageRow,
    answers: Sequence[_Line],
    titled: Sequence[str],
    lemmatise: Lemmatise,
) -> CorpusRow:
    """Make the row of an image.

    Args:
        image: Its name and labels.
        answers: Lines about it.
        titled: Titles of labels; the last is that of `NO_CLASS`.
        lemmatise: Makes lemmas where lines have none.

    Raises:
        ValueError: it has labels and no answer; a class or kind is unknown.
    """
    if image["labels"] and not answers:
        raise ValueError("the file has no answer about it")
    found = [_answer(one, titled, lemmatise) for one in answers]
    return CorpusRow(name=image["name"], answers=found)


def _answer(line: _Line, titled: Sequence[str], lemmatise: Lemmatise) -> Answer:
    name, kind, answer = str(line["class"]), line["kind"], str(line["answer"])
    if name not in titled:
        raise ValueError(f"{name!r} is no class: classes are {', '.join(titled)}")
    if kind != "fg" and kind != "bg":
        raise ValueError(f"the kind {kind!r} is neither fg nor bg")
    label = titled.index(name)
    return Answer(
        label=label if label < len(titled) - 1 else NO_CLASS,
        kind=kind,
        question=str(line["question"]),
        answer=answer,
        lemma=lemmatise(answer) if line["lemma"] is None else line["lemma"],
    )
