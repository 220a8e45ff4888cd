"""Statistics equal what one counts by hand, and what a plain Counter counts."""

import csv
import json
from collections import Counter
from io import StringIO

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.questions import background_texts, fill
from qaclims_ray.corpus.stats import flat, survey
from qaclims_ray.corpus.stats.counts import count_answers, labels_of, of_class
from qaclims_ray.corpus.stats.figures import (
    backgrounds,
    first,
    frequencies,
    names_kind,
    numbers,
    with_class,
)
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import read_table
from qaclims_ray.types import NO_CLASS, SCHEMAS, Answer

CLASSES = ["cat", "dining table", "boat"]


def answer(label: int, kind: str, lemma: str, question: str = "is it {}?") -> Answer:
    name = "(image)" if label == NO_CLASS else CLASSES[label]
    asked = question.replace("{}", name)
    return Answer(label=label, kind=kind, question=asked, answer=f"{lemma}s", lemma=lemma)


def corpus(rows: list) -> pa.Table:
    named = [{"name": f"{i:03d}", "answers": row} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(named, schema=SCHEMAS["corpus"])


def counts_of(rows: list, batch: int = 2):
    return count_answers(corpus(rows).to_batches(max_chunksize=batch), CLASSES, Questions())


_BOAT = [answer(2, "fg", "ship"), answer(2, "bg", "sea"), answer(2, "bg", "sofa")]
ROWS = [
    [answer(0, "fg", "kitten"), answer(0, "bg", "sofa"), answer(0, "bg", "sofa")],
    [answer(0, "fg", "cat"), answer(0, "bg", "sofa"), answer(0, "bg", "rug"), *_BOAT],
    [answer(0, "fg", "kitten"), answer(0, "bg", "cat")],
    [],
]


def test_totals_and_empty_background_sets():
    counts = counts_of(ROWS)
    assert counts.num_images == 4
    assert numbers(counts, CLASSES, {}) == {
        "pairs": 4,
        "answers": 11,
        "unique_answers": 6,
        "mean_words": 1.0,
        "kind_share": 3 / 4,
        "empty_pairs": 1,
        "empty_share": 1 / 4,
    }
    cat = numbers(of_class(counts, 0), CLASSES, {"cat": ["kitten"]})
    assert (cat["pairs"], cat["answers"], cat["kind_share"]) == (3, 8, 0.0)
    assert labels_of(counts) == [0, 2]


def test_backgrounds_have_their_share_of_the_pairs_and_lift_over_all():
    table = with_class(backgrounds(counts_of(ROWS)), CLASSES)
    assert table.to_pylist() == [
        {"class": "cat", "lemma": "sofa", "count": 2, "share": 2 / 3, "lift": 2 / 3 / (3 / 4)},
        {"class": "cat", "lemma": "rug", "count": 1, "share": 1 / 3, "lift": 1 / 3 / (1 / 4)},
        {"class": "boat", "lemma": "sea", "count": 1, "share": 1.0, "lift": 4.0},
        {"class": "boat", "lemma": "sofa", "count": 1, "share": 1.0, "lift": 1 / (3 / 4)},
    ]


def test_frequencies_are_shares_of_the_answers_to_a_question():
    table = frequencies(counts_of(ROWS), ["label", "kind", "question"], ["answer", "lemma"])
    one = {"label": 0, "kind": "fg", "question": "is it {}?"}
    assert table.to_pylist()[:2] == [
        {**one, "answer": "kittens", "lemma": "kitten", "count": 2, "share": 2 / 3},
        {**one, "answer": "cats", "lemma": "cat", "count": 1, "share": 1 / 3},
    ]
    best = first(table, ["label", "kind"], 1)
    assert best["lemma"].to_pylist() == ["kitten", "sofa", "ship", "sea"]


def test_a_question_becomes_its_template_but_parts_of_words_stay():
    rows = [[answer(0, "fg", "x", "what category is the {}?")]]
    assert counts_of(rows).answers["question"].to_pylist() == ["what category is the {}?"]


@pytest.mark.parametrize("questions", [Questions(), Questions(background=["what scene is {} of?"])])
def test_a_class_may_be_called_like_another_word_of_the_question(questions):
    names = ["photo", "scene"]
    templates = [text for kind in questions.templates.values() for text in kind]
    answers = [
        Answer(label=label, kind="fg", question=asked, answer="x", lemma="x")
        for label, name in enumerate(names)
        for asked in fill(templates, name)
    ]
    counts = count_answers(corpus([answers]).to_batches(), names, questions)
    assert set(counts.answers["question"].to_pylist()) == set(templates)
    assert counts.answers["count"].to_pylist() == [1] * len(answers)


@pytest.mark.parametrize(
    ("lemma", "class_name", "kind"),
    [
        ("metro", "train", True),
        ("old train", "train", True),
        ("train", "train", False),
        ("", "train", False),
        ("table", "dining table", False),
        ("dining table", "dining table", False),
        ("wooden table", "dining table", True),
    ],
)
def test_an_answer_names_a_kind_if_it_says_more_than_the_class(lemma, class_name, kind):
    assert names_kind(lemma, class_name) is kind


def test_answers_about_the_image_are_one_class_without_kinds():
    rows = [[answer(NO_CLASS, "fg", "cat"), answer(NO_CLASS, "bg", "cat")], [answer(0, "bg", "a")]]
    counts = counts_of(rows)
    assert labels_of(counts) == [0, NO_CLASS]
    image = numbers(of_class(counts, NO_CLASS), CLASSES, {})
    assert (image["pairs"], image["empty_pairs"], image["kind_share"]) == (1, 0, None)
    assert set(with_class(backgrounds(counts), CLASSES)["class"].to_pylist()) == {"cat", "(image)"}


def test_an_empty_corpus_has_figures_too():
    counts = count_answers([], CLASSES, Questions())
    found = survey.survey(counts, CLASSES, {}, 3)
    assert found["images"] == 0
    assert found["total"]["mean_words"] is None
    assert (found["classes"], found["questions"]) == ([], [])
    assert "no background" in survey.on_screen(found)


def test_words_of_an_answer_are_counted_as_generated():
    row = Answer(label=0, kind="fg", question="?", answer=" an  old\ncat ", lemma="cat")
    assert numbers(counts_of([[row, answer(0, "fg", "b")]]), CLASSES, {})["mean_words"] == 2.0


WORDS = st.sampled_from(["cat", "boat", "table", "", "sea", "été", "a, b\n"])
ANSWERS = st.builds(
    answer, st.integers(-1, 2), st.sampled_from(["fg", "bg"]), WORDS, st.sampled_from(["{}", "é?"])
)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(ANSWERS, max_size=8), max_size=8), batch=st.integers(1, 3))
def test_counts_equal_those_of_a_plain_counter(rows, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat, "_ROWS", 3)
        counts = counts_of(rows, batch)
    given = Counter((a["label"], a["kind"], a["answer"]) for row in rows for a in row)
    table = frequencies(counts, ["label", "kind"], ["answer"])
    keys = [tuple(row[name] for name in ("label", "kind", "answer")) for row in table.to_pylist()]
    assert dict(zip(keys, table["count"].to_pylist(), strict=True)) == given

    sets = [
        (label, background_texts(lemmas, CLASSES[label] if label >= 0 else "(image)"))
        for row in rows
        for label in {a["label"] for a in row}
        for lemmas in [[a["lemma"] for a in row if a["label"] == label and a["kind"] == "bg"]]
    ]
    named = Counter((label, text) for label, texts in sets for text in texts)
    found = backgrounds(counts).to_pylist()
    assert {(row["label"], row["lemma"]): row["count"] for row in found} == named
    pairs = Counter(label for label, _ in sets)
    assert all(row["share"] == row["count"] / pairs[row["label"]] for row in found)
    total = numbers(counts, CLASSES, {})
    assert total["pairs"] == len(sets)
    assert total["empty_pairs"] == sum(not texts for _, texts in sets)
    assert total["answers"] == sum(map(len, rows))


@pytest.fixture
def run_with_corpus(make_experiment, tmp_path):
    import pyarrow.parquet as pq

    experiment = make_experiment(tmp_path / "run")
    artifact(experiment, "images").complete(Built(4, 0, {"class_names": CLASSES}), 1.0, {})
    target = artifact(experiment, "corpus")
    target.start({})
    pq.write_table(corpus(ROWS), f"{target.uri}/part-00000.parquet")
    target.complete(Built(4, 0, {}), 1.0, {})
    return experiment


def test_the_files_lie_beside_the_artifact_and_leave_it_as_it_is(run_with_corpus, tmp_path):
    before = read_table(artifact(run_with_corpus, "corpus"))
    last = survey.run(run_with_corpus, export_to=str(tmp_path / "a.csv")).splitlines()[-1]
    folder = tmp_path / "run" / "corpus_stats"
    assert last.startswith("corpus_stats: 4 images, 11 answers")
    assert f"11 answers in {tmp_path / 'a.csv'}" in last
    found = json.loads((folder / "corpus_stats.json").read_text())
    manifest = artifact(run_with_corpus, "corpus").require()
    assert found["identity"] == manifest["identity"]
    assert found["classes"][0]["backgrounds"][0]["lemma"] == "sofa"
    rows = list(csv.DictReader(StringIO((folder / "answers.csv").read_text())))
    assert sum(int(row["count"]) for row in rows) == 11
    assert read_table(artifact(run_with_corpus, "corpus")).equals(before)


def test_what_is_wrong_is_said_before_anything_is_done(run_with_corpus, make_experiment, tmp_path):
    with pytest.raises(ValueError, match=r"give a name in \.jsonl, \.csv"):
        survey.run(run_with_corpus, export_to="a.txt")
    assert not (tmp_path / "run" / "corpus_stats").exists()
    with pytest.raises(ValueError, match=r"run qaclims corpus first"):
        survey.run(make_experiment(tmp_path / "other"))


def test_tables_are_aligned():
    assert survey.aligned(["a", "b", "c"], [["xyz", "1", "22"]]) == "a    b   c\nxyz  1  22"
