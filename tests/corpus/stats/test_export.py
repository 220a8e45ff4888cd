"""An export reads back as the corpus, and is whole or absent."""

import csv
import gzip
import json
from io import BytesIO, StringIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaclims_ray.corpus.stats.export import export
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.types import NO_CLASS, SCHEMAS

CLASSES = ["cat", "Straße"]
TEXTS = ["a, b", 'so-called "cat"', "two\nlines", "雪だるま", "", " x "]
ROWS = [
    {
        "name": name,
        "answers": [
            {"label": label, "kind": "fg", "question": "q?", "answer": text, "lemma": text.upper()}
            for label in (0, 1, NO_CLASS)
            for text in TEXTS
        ],
    }
    for name in ("a,1", "b")
]
EXPECTED = [
    {"name": row["name"], "class": [*CLASSES, "(image)"][one["label"]]}
    | {key: one[key] for key in ("kind", "question", "answer", "lemma")}
    for row in ROWS
    for one in row["answers"]
]


def batches(rows=ROWS):
    return pa.Table.from_pylist(rows, schema=SCHEMAS["corpus"]).to_batches(max_chunksize=1)


def read(uri):
    content = read_bytes(str(uri))
    text = (gzip.decompress(content) if str(uri).endswith(".gz") else content).decode()
    if ".csv" in str(uri):
        return list(csv.DictReader(StringIO(text, newline="")))
    return [json.loads(line) for line in text.split("\n")[:-1]]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.csv.gz", "x.jsonl.gz"])
def test_an_export_reads_back_and_two_are_equal(name, tmp_path):
    assert export(batches(), CLASSES, str(tmp_path / name)) == len(EXPECTED)
    assert read(tmp_path / name) == EXPECTED
    export(batches(), CLASSES, str(tmp_path / f"again-{name}"))
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()


@pytest.mark.parametrize("name", ["x.csv.gz", "x.jsonl"])
def test_an_export_to_a_store_reads_back(name):
    uri = f"memory://exports/{name}"
    export(batches(), CLASSES, uri)
    assert read(uri) == EXPECTED


@pytest.mark.parametrize("folder", ["{}", "memory://broken"])
def test_a_broken_export_leaves_nothing(folder, tmp_path):
    def broken():
        yield from batches()
        raise OSError("the disk is gone")

    uri = f"{folder.format(tmp_path)}/x.csv.gz"
    with pytest.raises(OSError, match="the disk is gone"):
        export(broken(), CLASSES, uri)
    fs, path = fsspec.url_to_fs(uri)
    assert not fs.exists(path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_corpus_is_a_header_or_nothing(tmp_path):
    assert export([], CLASSES, str(tmp_path / "x.csv")) == 0
    header = '"name","class","kind","question","answer","lemma"\n'
    assert (tmp_path / "x.csv").read_text() == header
    assert export(batches([]), CLASSES, str(tmp_path / "x.jsonl")) == 0
    assert (tmp_path / "x.jsonl").read_text() == ""


def test_an_unknown_suffix_is_said(tmp_path):
    for name in ("x.txt", "x.parquet.gz", "x"):
        with pytest.raises(
            ValueError, match=r"\.jsonl, \.csv, \.jsonl\.gz, \.csv\.gz or \.parquet"
        ):
            export(batches(), CLASSES, str(tmp_path / name))


@pytest.mark.parametrize("folder", ["{}", "memory://parquet"])
def test_parquet_has_the_same_rows(folder, tmp_path):
    uri = f"{folder.format(tmp_path)}/x.parquet"
    assert export(batches(), CLASSES, uri) == len(EXPECTED)
    assert pq.read_table(BytesIO(read_bytes(uri))).to_pylist() == EXPECTED
    assert export([], CLASSES, uri) == 0
    assert pq.read_table(BytesIO(read_bytes(uri))).column_names == list(EXPECTED[0])
