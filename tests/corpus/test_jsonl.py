"""Lines of answers into a run, as an export wrote them or somebody else."""

import gzip
import json
from operator import itemgetter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.corpus import jsonl
from qaclims_ray.corpus.jsonl import (
    AnswerWalk,
    corpus_row,
    count_images,
    import_answers,
    read_answers,
)
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
    lines = sorted(read_answers(uri), key=itemgetter("name"))
    assert count_images(lines, sorted(corpus)) == (len(corpus), 0)
    walk = AnswerWalk(lines)
    for row in sorted(rows, key=itemgetter("name")):
        image = {"name": row["name"], "labels": [0]}
        found = walk.about([row["name"]])[row["name"]]
        assert corpus_row(image, found, titles(CLASSES), lemma) == row


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


def test_images_are_counted_and_walked_over_beside_those_of_the_run():
    lines = [{"name": name, "answer": str(place)} for place, name in enumerate("bbdfff")]
    assert count_images(lines, "abcd") == (3, 1)
    assert count_images(lines, "") == (3, 3)
    walk = AnswerWalk(iter(lines))
    assert walk.about(["a", "b", "c"]) == {"b": lines[:2]}
    assert walk.about(["e", "f"]) == {"f": lines[3:]}
    assert walk.about(["g"]) == {}


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_a_file_is_read_piece_by_piece(run, tmp_path, monkeypatch, name):
    monkeypatch.setattr(jsonl, "_PIECE", 100)
    lines = [_line(image, answer=f"{number}s" * number) for number in range(9) for image in "abc"]
    assert "3 rows, 0 errors" in _import(run, tmp_path, *lines, "", "  ", name=name)
    rows = read_table(artifact(run, "corpus")).to_pylist()
    wanted = [f"{number}s" * number for number in range(9)]
    assert [[one["answer"] for one in row["answers"]] for row in rows] == [wanted] * 3


def test_no_more_of_a_file_is_read_than_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "_PIECE", 100)
    path = tmp_path / "x.jsonl"
    path.write_text(f"{_line('a')}\n" * 50 + "no JSON\n")
    lines = read_answers(str(path))
    assert [next(lines)["name"] for _ in range(40)] == ["a"] * 40
    with pytest.raises(ValueError, match=r"\(rows count from line 5\d\)"):
        list(lines)


def test_the_line_that_lacks_a_key_is_named_wherever_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "_PIECE", 100)
    path = tmp_path / "x.jsonl"
    path.write_text(f"{_line('a')}\n" * 50 + '{"name": "a"}\n')
    with pytest.raises(ValueError, match="line 51 lacks 'class'"):
        list(read_answers(str(path)))
