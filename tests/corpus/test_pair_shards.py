from pathlib import Path

import pytest

from qaclims_ray.config.corpus import Corpus
from qaclims_ray.corpus import pair_shards, stage
from qaclims_ray.corpus.pair_shards import pair_shard, shards_side_by_side
from qaclims_ray.corpus.texts import pairs_of, texts_of
from qaclims_ray.run.artifact import Artifact, own_artifact
from qaclims_ray.run.lineage import identities
from qaclims_ray.run.manifest import Built
from qaclims_ray.storage.parquet import read_parquet
from qaclims_ray.types import SCHEMAS
from tests.build import write_artifact

CLASSES, SETTINGS, NUM = ("cat", "dog"), Corpus(), 23
IMAGES = [{"name": f"{number:02d}", "labels": [number % 2]} for number in range(NUM)]


def _answered(name, label):
    about = {"label": label, "question": "?"}
    said = [("fg", "tom"), ("bg", f"sofa {name}"), ("bg", "rug")]
    answers = [{**about, "kind": kind, "answer": word, "lemma": word} for kind, word in said]
    return {"name": name, "answers": answers, "unanswered": None}


CORPUS = [_answered(row["name"], row["labels"][0]) for row in IMAGES]


@pytest.fixture
def artifacts(tmp_path):
    """Images in shards of five rows, answers in shards of seven."""
    found = []
    for name, rows, size in (("images", IMAGES, 5), ("corpus", CORPUS, 7)):
        target = Artifact(name, f"{tmp_path}/{name}", {})
        write_artifact(target, *(rows[i : i + size] for i in range(0, NUM, size)))
        found.append(target)
    return found


def test_pairs_of_shards_are_those_of_all_rows(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr(pair_shards, "_BATCH", 3)
    images, corpus = artifacts
    made, texts = [], set()
    for number, (answered, beside) in enumerate(shards_side_by_side(corpus, images)):
        assert len(beside) <= 3
        uri = f"{tmp_path}/{number}.parquet"
        texts |= set(pair_shard(SETTINGS, CLASSES, answered, beside, uri))
        made += read_parquet(uri, SCHEMAS["pairs"]).to_pylist()
    both = zip(CORPUS, IMAGES, strict=True)
    expected = [pairs_of(row, CLASSES, SETTINGS, image["labels"]) for row, image in both]
    assert made == expected
    assert texts == texts_of(expected)


def test_an_image_that_is_gone_is_named(artifacts, tmp_path):
    images, corpus = artifacts
    to, beside, first = f"{tmp_path}/0.parquet", images.shards(), corpus.shards()[0]
    with pytest.raises(ValueError, match="answers about '05', which the images lack"):
        pair_shard(SETTINGS, CLASSES, first, beside[:1], to)
    with pytest.raises(ValueError, match=r"part-00009\.parquet: a file was lost"):
        pair_shard(SETTINGS, CLASSES, f"{corpus.uri}/part-00009.parquet", beside, to)


def test_tasks_write_the_same_bytes(local_ray, make_experiment, tmp_path, monkeypatch):
    written = []
    for few in (stage._FEW, 0):
        monkeypatch.setattr(stage, "_FEW", few)
        experiment = make_experiment(tmp_path / str(few))
        for name, rows in (("images", IMAGES), ("corpus", CORPUS)):
            target = own_artifact(experiment, name)
            facts = {"class_names": list(CLASSES)}
            write_artifact(target, rows[:9], rows[9:], facts=facts)
            target.complete(Built(NUM, 0, facts), 0.0, identities(experiment, name))
        stage.run(experiment, "pairs")
        pairs = Path(own_artifact(experiment, "pairs").uri)
        written.append({path.name: path.read_bytes() for path in sorted(pairs.glob("*.parquet"))})
    assert written[0] == written[1]
    assert [*written[0]] == ["part-00000.parquet", "part-00001.parquet", "texts.parquet"]
