import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data

from qaclims_ray.config.experiment import resolve
from qaclims_ray.corpus import stage
from qaclims_ray.corpus.ask import answer_all
from qaclims_ray.corpus.engines.build import build_engine
from qaclims_ray.corpus.features import embed_texts
from qaclims_ray.corpus.texts import pairs_of, texts_of
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.images.decoded import decode_row, decode_table
from qaclims_ray.model.clip_files import load_clip
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.types import NO_CLASS, SCHEMAS


def _rows(experiment, name):
    return read_table(artifact(experiment, name)).to_pylist()


def _files(experiment, name):
    return [read_bytes(shard) for shard in artifact(experiment, name).shards()]


@pytest.fixture
def no_ray_data(monkeypatch):
    """Fails where Ray Data would start."""

    def fail(*_, **__):
        raise AssertionError("a map was started")

    monkeypatch.setattr(stage, "map_actor", fail)


def test_every_image_is_asked_everything_about_its_classes(demo_run):
    images, corpus = _rows(demo_run, "images"), _rows(demo_run, "corpus")
    assert [row["name"] for row in corpus] == [row["name"] for row in images]
    for image, row in zip(images, corpus, strict=True):
        asked = [answer["label"] for answer in row["answers"]]
        assert asked == [label for label in image["labels"] for _ in range(16)]


def test_the_corpus_is_what_the_engine_answers(demo_run):
    engine = build_engine(demo_run.corpus.engine, device="cpu", num_gpus=1.0)
    images = _rows(demo_run, "images")[:3]
    expected = answer_all(
        [decode_row(row) for row in images], engine, CLASSES, demo_run.corpus.questions
    )
    assert _rows(demo_run, "corpus")[:3] == expected


def test_two_actors_and_other_blocks_make_the_same_bytes(demo_run, tmp_path):
    pool = {"num_actors": 2, "num_cpus": 0.5, "block_rows": 1, "batch_size": 3}
    other = demo_run.with_overrides({"run": str(tmp_path), "compute.corpus": pool})
    shutil.copytree(artifact(demo_run, "images").uri, tmp_path / "images")
    stage.run(other)
    assert _files(other, "corpus") == _files(demo_run, "corpus")
    assert len(_files(other, "corpus")) > 1


def test_two_threads_of_an_actor_make_the_same_bytes(demo_run, tmp_path, monkeypatch):
    """As where it has a GPU: blocks, replies to keep and the crash log are those of one thread."""
    two = {"max_concurrent_calls_per_actor": 2, "enable_true_multi_threading": True}
    strategy = ray.data.ActorPoolStrategy
    monkeypatch.setattr(ray.data, "ActorPoolStrategy", lambda **pool: strategy(**{**pool, **two}))
    pool = {"num_actors": 1, "block_rows": 2, "batch_size": 2}
    other = demo_run.with_overrides({"run": str(tmp_path), "compute.corpus": pool})
    shutil.copytree(artifact(demo_run, "images").uri, tmp_path / "images")
    stage.run(other)
    assert _files(other, "corpus") == _files(demo_run, "corpus")
    replies = [pq.read_table(run / "answers").num_rows for run in (tmp_path, Path(demo_run.run))]
    assert replies[0] == replies[1]


def test_a_grown_list_of_questions_is_asked_about_what_is_new_alone(demo_run, tmp_path):
    background = [*demo_run.corpus.questions.templates["bg"], "what is near the {}?"]
    grown = demo_run.with_overrides(
        {
            "run": str(tmp_path),
            "base": [demo_run.run],
            "corpus.questions.background": background,
        }
    )
    before = _rows(demo_run, "corpus")
    num_answers = sum(len(row["answers"]) for row in before)
    assert f"{num_answers} replies known before and not asked for again" in stage.run(grown)
    for row, old in zip(_rows(grown, "corpus"), before, strict=True):
        new = [one for one in row["answers"] if one["question"].startswith("what is near")]
        assert [one for one in row["answers"] if one not in new] == old["answers"]
        assert len(new) == len({one["label"] for one in old["answers"]})


def test_pairs_follow_from_the_corpus(demo_run):
    corpus = _rows(demo_run, "corpus")
    expected = [pairs_of(row, CLASSES, demo_run.corpus) for row in corpus]
    assert _rows(demo_run, "pairs") == expected
    assert any(pair["background"] for row in expected for pair in row["pairs"])


def _write(target, shards, **facts):
    """Complete an artifact with rows of one's own."""
    target.start({})
    for number, rows in enumerate(shards):
        table = pa.Table.from_pylist(rows, schema=SCHEMAS[target.name])
        write_parquet(table, f"{target.uri}/part-{number:05d}.parquet")
    target.complete(Built(sum(map(len, shards)), 0, facts), 1.0, {})


def test_pairs_have_the_labels_of_their_own_image_where_others_failed(make_experiment, tmp_path):
    """The corpus lacks every second image, and its shards are cut elsewhere."""
    experiment = make_experiment(tmp_path)
    labels = {f"i{number}": [number] for number in range(6)}
    images = [{"name": name, "labels": one} for name, one in labels.items()]
    class_names = [f"class {number}" for number in range(6)]
    _write(artifact(experiment, "images"), [images[:2], images[2:]], class_names=class_names)
    answer = {"label": NO_CLASS, "kind": "bg", "question": "?", "answer": "sea", "lemma": "sea"}
    answered = [{"name": name, "answers": [answer]} for name in ("i1", "i3", "i5")]
    _write(artifact(experiment, "corpus"), [answered[:1], answered[1:]])
    make(experiment, "pairs", partial(stage._pair, experiment), overwrite=False)
    pairs = {row["name"]: row["pairs"] for row in _rows(experiment, "pairs")}
    assert {name: [pair["label"] for pair in found] for name, found in pairs.items()} == {
        name: labels[name] for name in ("i1", "i3", "i5")
    }


def test_texts_are_those_of_pairs_and_classes_once_and_sorted(demo_run):
    texts = [row["text"] for row in _rows(demo_run, "texts")]
    assert texts == sorted({*CLASSES, *texts_of(_rows(demo_run, "pairs"))})


def test_texts_are_listed_beside_the_pairs_and_only_counted_in_the_manifest(demo_run):
    pairs = artifact(demo_run, "pairs")
    schema = pa.schema([("text", pa.string())])
    listed = read_parquet(f"{pairs.uri}/texts.parquet", schema)["text"].to_pylist()
    assert listed == [row["text"] for row in _rows(demo_run, "texts")]
    assert pairs.require()["facts"] == {"texts": len(listed)}


def test_features_are_clips_and_of_length_1(demo_run):
    rows = _rows(demo_run, "texts")
    section = demo_run.model.clip
    clip = load_clip(resolve(section.model), section.pretrained)
    texts = [row["text"] for row in rows]
    expected = embed_texts(clip, texts, template="a photo of {}.", batch_size=256)
    features = np.array([row["feature"] for row in rows])
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_class_name_and_fixed_list_need_no_answers(demo_run, tmp_path):
    """As CLIMS: only the texts are made anew, from the same corpus."""
    clims_like = demo_run.with_overrides(
        {
            "run": str(tmp_path),
            "base": [demo_run.run],
            "corpus.texts": {"foreground": "class_name", "backgrounds": ["sky", "grass"]},
        }
    )
    stage.run_texts(clims_like)
    pairs = [pair for row in _rows(clims_like, "pairs") for pair in row["pairs"]]
    assert all(pair["foreground"] == [] for pair in pairs)
    assert all(pair["background"] == ["sky", "grass"] for pair in pairs)
    texts = [row["text"] for row in _rows(clims_like, "texts")]
    assert texts == sorted({*CLASSES, "sky", "grass"})


def test_a_replayed_corpus_is_the_same(demo_run, tmp_path):
    engine = {"kind": "replay", "corpus": artifact(demo_run, "corpus").uri}
    again = demo_run.with_overrides(
        {"run": str(tmp_path), "base": [demo_run.run], "corpus.engine": engine}
    )
    assert "8 rows, 0 errors" in stage.run(again)
    assert _files(again, "corpus") == _files(demo_run, "corpus")


def test_questions_about_the_image_are_asked_once_and_serve_all_its_classes(demo_run, tmp_path):
    answers = {"what is it?": f"old {CLASSES[0]}", "what place is it?": "beach"}
    free = demo_run.with_overrides(
        {
            "run": str(tmp_path),
            "base": [demo_run.run],
            "corpus.engine": {"kind": "table", "answers": answers},
            "corpus.questions": {
                "about": "image",
                "foreground": ["what is it?"],
                "background": ["what place is it?"],
            },
        }
    )
    stage.run(free)
    for row in _rows(free, "corpus"):
        assert [answer["label"] for answer in row["answers"]] == [NO_CLASS] * 2
    stage.run_texts(free)
    for image, row in zip(_rows(free, "images"), _rows(free, "pairs"), strict=True):
        assert row["name"] == image["name"]
        assert row["pairs"] == [
            {
                "label": label,
                "foreground": [f"old {CLASSES[0]}"] if label == 0 else [],
                "background": ["beach"],
            }
            for label in image["labels"]
        ]


def test_foregrounds_alone_make_pairs_without_backgrounds(demo_run, tmp_path):
    questions = {"foreground": ["what kind of thing is it?"], "background": []}
    alone = demo_run.with_overrides(
        {
            "run": str(tmp_path),
            "base": [demo_run.run],
            "corpus.engine": {"kind": "table", "answers": {"what kind of thing is it?": "toy"}},
            "corpus.questions": questions,
        }
    )
    assert "8 rows, 0 errors" in stage.run(alone)
    stage.run_texts(alone)
    pairs = [pair for row in _rows(alone, "pairs") for pair in row["pairs"]]
    assert all(pair["foreground"] == [f"toy {CLASSES[pair['label']]}"] for pair in pairs)
    assert all(pair["background"] == [] for pair in pairs)


def test_a_second_run_does_nothing(demo_run, no_ray_data):
    assert "corpus: complete already, 8 rows" in stage.run(demo_run)
    assert stage.run_texts(demo_run).count("complete already") == 2


def test_a_stage_names_the_job_that_must_come_first(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    with pytest.raises(ValueError, match=r"run qaclims ingest first"):
        stage.run(experiment)
    with pytest.raises(ValueError, match=r"run qaclims corpus first"):
        stage.run_texts(experiment)


def test_an_image_that_cannot_be_read_costs_no_other_its_answers(demo_run, png, tmp_path):
    target = Artifact("corpus", str(tmp_path), {})
    answerer = stage.Answerer(demo_run.with_overrides({"data.max_errors": 1}), CLASSES, target)
    whole = {"name": "a", "image": png(np.zeros((96, 96, 3), np.uint8)), "labels": [0]}
    torn = {**whole, "name": "b", "image": whole["image"][:40]}
    images = pa.Table.from_pylist([whole, torn, {**whole, "name": "c"}])
    rows = answerer(decode_table(images)).to_pylist()
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [row["answers"] is None for row in rows] == [False, True, False]
    assert rows[1]["error"].startswith("ValueError: ")
    assert rows[0]["answers"] == rows[2]["answers"]
