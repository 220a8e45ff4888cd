"""Import a corpus from lines of JSON, one for each answer, as `corpus-stats --export` writes them.

    {"name": "a", "class": "cat", "kind": "fg", "question": "…", "answer": "cats", "lemma": "cat"}

Without `lemma`, the answer is lemmatised as those of engines are. The class `(image)` stands for
questions about no class.
"""

import gzip
import logging
from collections.abc import Sequence
from functools import partial
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.corpus.lemmas import Lemmatise, lemma, read_wordnet
from qaclims_ray.corpus.published import fill_corpus
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.types import NO_CLASS, Answer, CorpusRow, ImageRow

log = logging.getLogger(__name__)

_COLUMNS = ("name", "class", "kind", "question", "answer", "lemma")
_REQUIRED = _COLUMNS[:-1]
_BLOCK = 2**24
"""Bytes that are parsed at a time; a line is shorter."""


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
    images = artifact(experiment, "images")
    answers = Answers(read_answers(file))
    names = read_table(images, ["name"])["name"].to_pylist()
    num_others = len(answers.names.difference(names))
    if num_others == len(answers.names):
        raise ValueError(f"{file}: its answers are about other images, none of {images.uri}")
    if num_others:
        log.warning("%s: answers about %d images that the run lacks are left out", file, num_others)
    folder = experiment.corpus.wordnet
    lemmatise = lemma if folder is None else read_wordnet(folder)
    titled = titles(class_names(images))

    def converted(rows: Sequence[ImageRow]) -> list[CorpusRow]:
        return [corpus_row(row, answers.about(row["name"]), titled, lemmatise) for row in rows]

    return fill_corpus(experiment, target, converted, [file])


def read_answers(file: str) -> pa.Table:
    """Read lines of answers, sorted by image; those of an image keep their order.

    Raises:
        ValueError: a line is no JSON, or lacks one of the keys.
    """
    content = read_bytes(file)
    if file.endswith(".gz"):
        content = gzip.decompress(content)
    schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
    expected = f"expected lines with the keys {', '.join(_REQUIRED)}, and maybe lemma"
    try:
        table = pj.read_json(
            BytesIO(content),
            read_options=pj.ReadOptions(block_size=_BLOCK),
            parse_options=pj.ParseOptions(schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: {error}: {expected}") from error
    for name in _REQUIRED:
        if table[name].null_count:
            line = table[name].is_null().to_pylist().index(True) + 1
            raise ValueError(f"{file}: line {line} lacks {name!r}: {expected}")
    return table.select(_COLUMNS).sort_by("name")


class Answers:
    """Looks up the answers about an image."""

    def __init__(self, table: pa.Table) -> None:
        """Index answers that are sorted by image."""
        self._table = table
        codes = table["name"].combine_chunks().dictionary_encode()
        order = codes.indices.to_numpy()
        starts = np.flatnonzero(np.diff(order, prepend=-1)).tolist()
        found = [codes.dictionary[int(order[start])].as_py() for start in starts]
        ranges = zip(starts, [*starts[1:], len(order)], strict=True)
        self._ranges = dict(zip(found, ranges, strict=True))

    @property
    def names(self) -> set[str]:
        """Names of the images."""
        return set(self._ranges)

    def about(self, name: str) -> list[dict[str, str | None]]:
        """Return the answers about an image, none where it has none."""
        start, stop = self._ranges.get(name, (0, 0))
        return self._table.slice(start, stop - start).to_pylist()


def corpus_row(
    image: ImageRow,
    answers: Sequence[dict[str, str | None]],
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


def _answer(line: dict[str, str | None], titled: Sequence[str], lemmatise: Lemmatise) -> Answer:
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
