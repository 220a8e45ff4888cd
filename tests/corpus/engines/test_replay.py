import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaclims_ray.config.corpus import Replay
from qaclims_ray.corpus.engines.replay import ReplayEngine
from qaclims_ray.run.tables import ROW_GROUP
from qaclims_ray.storage.files import write_json
from qaclims_ray.types import SCHEMAS
from tests.build import manifest

IMAGE = np.zeros((4, 4, 3), np.uint8)


def _engine(corpus):
    return ReplayEngine(Replay(kind="replay", corpus=corpus))


def _row(name, answers):
    return {
        "name": name,
        "answers": [
            {"label": 0, "kind": "bg", "question": question, "answer": answer, "lemma": "?"}
            for question, answer in answers.items()
        ],
    }


@pytest.fixture
def corpus(tmp_path):
    """A complete corpus of two shards."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    shards = [["a", "b"], ["c d", "e/f"]]
    for number, names in enumerate(shards):
        rows = [_row(name, {"what is it?": f"{name}s", "where?": "there"}) for name in names]
        table = pa.Table.from_pylist(rows, schema=SCHEMAS["corpus"])
        pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=ROW_GROUP)
    write_json(str(folder / "_COMPLETE.json"), manifest("corpus"))
    return folder


def _ask(engine, names, questions):
    return engine.answer([IMAGE] * len(names), questions, names=names)


def test_answers_come_by_image_and_question_in_any_order(corpus):
    engine = _engine(str(corpus))
    asked = [["where?", "what is it?"], [], ["what is it?"]]
    assert _ask(engine, ["e/f", "b", "a"], asked) == [["there", "e/fs"], [], ["as"]]


def test_what_the_corpus_lacks_is_named(corpus):
    engine = _engine(str(corpus))
    with pytest.raises(ValueError, match="has no image 'z'"):
        _ask(engine, ["a", "z"], [["where?"], ["where?"]])
    with pytest.raises(ValueError, match=r"has no answer to 'why\?' about image 'a'"):
        _ask(engine, ["a"], [["why?"]])


def test_an_unfinished_corpus_or_another_artifact_is_refused(corpus, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="is no complete corpus"):
            _engine(str(folder))
    write_json(str(corpus / "_COMPLETE.json"), manifest("images"))
    with pytest.raises(ValueError, match="is no complete corpus"):
        _engine(str(corpus))


_POOLS: list[pa.MemoryPool] = []
"""What Arrow keeps in them may outlive their test; without them it would end the process."""


def test_only_the_row_groups_that_hold_the_names_are_read(tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = [_row(f"{n:04d}", {"where?": str(n) * 2000}) for n in range(16 * ROW_GROUP)]
    table = pa.Table.from_pylist(rows, schema=SCHEMAS["corpus"])
    pq.write_table(table, folder / "part-00000.parquet", row_group_size=ROW_GROUP)
    write_json(str(folder / "_COMPLETE.json"), manifest("corpus"))
    engine = _engine(str(folder))
    own = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(own)  # its maximum is of this test alone
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        assert _ask(engine, ["0500"], [["where?"]]) == [["500" * 2000]]
    finally:
        pa.set_memory_pool(own)
    assert 0 < pool.max_memory() < table.nbytes / 2


@pytest.fixture
def published(tmp_path):
    """The published pair of files; templates have `{}` for the class."""
    files = []
    for kind, question in (("fg", "What kind of {} is it?"), ("bg", "what is under the {}?")):
        content = {
            name: {
                class_name: {
                    "vqa": [(question, f"{kind} {name} {class_name}")],
                    "answers": [np.str_("lemma")],
                }
                for class_name in ("boat", "dog")
            }
            for name in ("a", "b")
        }
        files.append(str(tmp_path / f"voc_vqa_{kind}_blip.npy"))
        np.save(files[-1], content, allow_pickle=True)
    return tuple(files)


def test_published_files_answer_by_image_class_and_question(published):
    engine = _engine(published)
    asked = ["what is under the dog?", "What kind of boat is it?", "what is under the boat?"]
    assert _ask(engine, ["b"], [asked]) == [["bg b dog", "fg b boat", "bg b boat"]]
    with pytest.raises(ValueError, match="has no image 'c'"):
        _ask(engine, ["c"], [asked])
    with pytest.raises(ValueError, match="has no answer to 'what is under the cat"):
        _ask(engine, ["a"], [["what is under the cat?"]])


def test_a_malformed_published_entry_is_named(tmp_path):
    file = str(tmp_path / "corpus.npy")
    np.save(file, {"a": {"boat": {"answers": []}}}, allow_pickle=True)
    with pytest.raises(ValueError, match="no sound entry for 'a': KeyError: 'vqa'"):
        _ask(_engine((file, file)), ["a"], [["where?"]])
