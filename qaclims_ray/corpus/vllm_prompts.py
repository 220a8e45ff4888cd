"""Questions one at a time, for an engine whose unit of work is a prompt rather than an image.

A question is named after its image and its place among that image's questions
(`2007_000032#0003`). Its row says where the image lies; the bytes are read when it is asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from qaclims_ray.config.corpus import Questions, Vllm
from qaclims_ray.corpus.ask import questions_about
from qaclims_ray.corpus.engines.server import data_url
from qaclims_ray.corpus.questions import clean, lemma
from qaclims_ray.images.decode import decode
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import Rows, read_parquet, work_schema
from qaclims_ray.storage.errors import attempt
from qaclims_ray.storage.files import atomic_open, find
from qaclims_ray.storage.filesystem import arrow_filesystem, patiently
from qaclims_ray.types import Answer, CorpusRow, Kind

ERROR = "__inference_error__"
"""Column in which Ray Data's processor keeps why a row failed, empty where none did. A row that
comes with an error passes the model by."""
TEXT = "generated_text"
"""Column of the processor's answers."""
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("image", pa.string()),
        ("shard", pa.string()),
        ("group", pa.int32()),
        ("label", pa.int32()),
        ("kind", pa.string()),
        ("question", pa.string()),
    ]
)


class QuestionRow(TypedDict):
    """One question about one image."""

    name: str
    """Of the question."""
    image: str
    """Name of the image."""
    shard: str
    """URI of the Parquet file that holds it."""
    group: int
    """Row group of that file."""
    label: int
    kind: Kind
    question: str


def list_questions(
    images: Artifact, class_names: Sequence[str], templates: Questions, folder: str
) -> dict[str, int]:
    """Write all questions, one file for each shard of images; URI and number of rows of each."""
    listed: dict[str, int] = {}
    for number, shard in enumerate(images.shards()):
        rows = [
            question
            for group, labelled in enumerate(_groups(shard))
            for row in labelled
            for question in _questions_of(row, shard, group, class_names, templates)
        ]
        uri = f"{folder}/part-{number:05d}.parquet"
        with atomic_open(uri) as file:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=_SCHEMA), file)
        listed[uri] = len(rows)
    return listed


def _groups(shard: str) -> Iterator[list[dict[str, Any]]]:
    """Names and labels of each row group."""
    file = _open(shard)
    for group in range(file.num_row_groups):
        yield patiently(
            lambda group=group: file.read_row_group(group, columns=["name", "labels"]), shard
        ).to_pylist()


def _questions_of(
    row: Mapping[str, Any],
    shard: str,
    group: int,
    class_names: Sequence[str],
    templates: Questions,
) -> list[QuestionRow]:
    return [
        QuestionRow(
            name=f"{row['name']}#{number:04d}",
            image=row["name"],
            shard=shard,
            group=group,
            label=one.label,
            kind=one.kind,
            question=one.text,
        )
        for number, one in enumerate(questions_about(row["labels"], class_names, templates))
    ]


def prompt(row: QuestionRow, engine: Vllm, max_pixels: int) -> dict[str, Any]:
    """What the processor's stages want to know: messages, how to decode, and maybe an error.

    The image comes first, so that its questions share a prefix, as a JPEG (see `server.data_url`).
    """
    url, error = _picture(row["shard"], row["group"], row["image"], max_pixels)
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": f"{row['question']} {engine.instruction}"},
    ]
    return {
        "messages": [{"role": "user", "content": content}],
        "sampling_params": {"temperature": 0.0, "max_tokens": engine.max_new_tokens},
        ERROR: error,
    }


# The questions of an image, and the images of a row group, come one after the other.
@lru_cache(maxsize=1)
def _picture(shard: str, group: int, name: str, max_pixels: int) -> tuple[str, str]:
    """URL of an image, and what is wrong with it; one of them empty."""
    try:
        return data_url(decode(_files(shard, group)[name], max_pixels=max_pixels)), ""
    except ValueError as wrong:
        return "", f"ValueError: {wrong}"


@lru_cache(maxsize=1)
def _files(shard: str, group: int) -> dict[str, bytes]:
    """The encoded images of a row group, by name."""
    file = _open(shard)
    rows = patiently(lambda: file.read_row_group(group, columns=["name", "image"]), shard)
    return dict(zip(rows["name"].to_pylist(), rows["image"].to_pylist(), strict=True))


def _open(shard: str) -> pq.ParquetFile:
    fs, path = arrow_filesystem(shard)
    return patiently(lambda: pq.ParquetFile(path, filesystem=fs), shard)


def answered(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that the processor returns, as a corpus row of one answer, or with its error."""
    if row[ERROR]:
        return {"name": row["name"], "error": row[ERROR]}
    said = attempt(clean, row[TEXT])
    if isinstance(said, ValueError):
        return {"name": row["name"], "error": f"ValueError: {said}"}
    answer = Answer(
        label=row["label"],
        kind=row["kind"],
        question=row["question"],
        answer=said,
        lemma=lemma(said),
    )
    return {**CorpusRow(name=row["name"], answers=[answer]), "error": None}


def image_of(question: str) -> str:
    """The image that a question, given by name, is about."""
    return question.rpartition("#")[0]


def collate(images: Artifact, listed: Sequence[str], asked: Artifact, target: Artifact) -> None:
    """Turn blocks of single answers into blocks of images, a shard of images at a time.

    Args:
        images: The images, complete.
        listed: Files of their questions, one for each shard.
        asked: Its blocks hold a corpus row of one answer for each question, in any order.
        target: The corpus.
    """
    answers = _blocks(asked)
    for number, (shard, questions) in enumerate(zip(images.shards(), listed, strict=True)):
        names = read_parquet(shard, ["name"])["name"].to_pylist()
        order = read_parquet(questions, ["name"])["name"].to_pylist()
        rows = join(names, _in_order(answers, order, asked.uri))
        table = pa.Table.from_pylist(list(rows), schema=work_schema(target.name))
        with atomic_open(f"{target.work}/rows/part-{number:05d}.parquet") as file:
            pq.write_table(table, file)


def _blocks(asked: Artifact) -> pads.Dataset:
    fs, _ = arrow_filesystem(asked.uri)
    paths = [arrow_filesystem(block)[1] for block in find(f"{asked.work}/rows/*.parquet")]
    return pads.dataset(paths, work_schema(asked.name), format="parquet", filesystem=fs)


def _in_order(answers: pads.Dataset, order: Sequence[str], uri: str) -> Rows:
    """The rows of questions; others are left out by the statistics of their blocks."""
    if not order:
        return []
    name = pads.field("name")
    wanted = (name >= min(order)) & (name <= max(order))
    rows = patiently(lambda: answers.to_table(filter=wanted), uri).to_pylist()
    found = {row["name"]: row for row in rows}
    return [found[question] for question in order]


def join(names: Sequence[str], asked: Rows) -> Rows:
    """Unfinished corpus rows of the images `names`; one failed question fails its image.

    Args:
        names: Of images; those without questions have no answers.
        asked: Rows of their questions, those of an image in the order of its questions.
    """
    of: dict[str, list[Mapping[str, Any]]] = {name: [] for name in names}
    for row in asked:
        of[image_of(row["name"])].append(row)
    return [_joined(name, rows) for name, rows in of.items()]


def _joined(name: str, asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    reason = next((row["error"] for row in asked if row["error"] is not None), None)
    if reason is not None:
        return {"name": name, "error": reason}
    return {**CorpusRow(name=name, answers=[row["answers"][0] for row in asked]), "error": None}
