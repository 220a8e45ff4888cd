"""Lines of answers into a run, as an export wrote them or somebody else."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.corpus.jsonl import Answers, corpus_row, import_answers, read_answers
from qaclims_ray.corpus.lemmas import lemma
from qaclims_ray.corpus.stats.export import export
from qaclims_ray.corpus.stats.flat import titles
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_errors, read_table
from qaclims_ray.types import NO_CLASS, SCHEMAS
from tests.build import write_artifact

CLASSES = ("cat", "Straße")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
answers = st.fixed_dictionaries(
    {
        "label": st.sampled_from([0, 1, NO_CLASS]),
        "kind": st.sampled_from(["fg", "bg"]),
        "question": texts,
        "answer": texts,
        "lemma": texts,
    }
)
corpora = st.dictionaries(
    texts.filter(bool), st.lists(answers, min_size=1, max_size=4), min_size=1, max_size=5
)


@given(corpora)
@settings(deadline=None, max_examples=50)
def test_what_an_export_writes_comes_back(tmp_path_factory, corpus):
    uri = str(tmp_path_factory.mktemp("answers") / "a.jsonl")
    rows = [{"name": name, "answers": own} for name, own in corpus.items()]
    export(pa.Table.from_pylist(rows, SCHEMAS["corpus"]).to_batches(), CLASSES, uri)
    found = Answers(read_answers(uri))
    assert found.names == set(corpus)
    for row in rows:
        image = {"name": row["name"], "labels": [0]}
        assert corpus_row(image, found.about(row["name"]), titles(CLASSES), lemma) == row


@pytest.fixture
def run(make_experiment, tmp_path):
    """A run of three images, one of which shows no class."""
    experiment = make_experiment(tmp_path / "run")
    rows = [
        {"name": name, "image": b"", "height": 1, "width": 1, "labels": labels, "mask": None}
        for name, labels in {"a": [0], "b": [0, 1], "c": []}.items()
    ]
    write_artifact(artifact(experiment, "images"), rows, facts={"class_names": list(CLASSES)})
    return experiment


def _line(name, **other):
    line = {"name": name, "class": "cat", "kind": "fg", "question": "q?", "answer": "cats"}
    return json.dumps(line | other)


def _import(experiment, tmp_path, *lines, name="x.jsonl"):
    content = "".join(f"{line}\n" for line in lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return import_answers(experiment, str(tmp_path / name), overwrite=False)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_lines_become_the_corpus_of_a_run(run, tmp_path, caplog, name):
    lines = [_line("b", lemma="tiger"), _line("a"), _line("b", extra=3), _line("zzz")]
    assert _import(run, tmp_path, *lines, name=name).startswith("corpus: 3 rows, 0 errors")
    rows = read_table(artifact(run, "corpus")).to_pylist()
    assert [(row["name"], [a["lemma"] for a in row["answers"]]) for row in rows] == [
        ("a", ["cat"]),
        ("b", ["tiger", "cat"]),
        ("c", []),
    ]
    assert "answers about 1 images that the run lacks are left out" in caplog.text


def test_images_without_answers_or_of_other_classes_are_errors(run, tmp_path):
    assert "1 rows, 2 errors" in _import(run, tmp_path, _line("b", **{"class": "dog"}))
    errors = dict(zip(*read_errors(artifact(run, "corpus")).to_pydict().values(), strict=True))
    assert "the file has no answer about it" in errors["a"]
    assert "'dog' is no class: classes are cat, Straße, (image)" in errors["b"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "expected lines with the keys name, class, kind, question, answer"),
        ('{"name": "a"}', "line 1 lacks 'class'"),
        ('{"name": 3}', "expected lines with the keys"),
        (_line("zzz"), "its answers are about other images, none of"),
    ],
)
def test_another_file_is_refused(run, tmp_path, line, said):
    with pytest.raises(ValueError, match=said):
        _import(run, tmp_path, line)
