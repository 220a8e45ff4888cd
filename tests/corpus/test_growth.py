"""A corpus that grows: what was answered is not asked again, and the bytes are those of one go."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from qaclims_ray.corpus import answerer, keep, stage
from qaclims_ray.corpus.answers import NoAnswer
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.blocks import PendingBlocks
from qaclims_ray.run.faults import forget_crashes
from qaclims_ray.run.tables import read_errors, read_table
from qaclims_ray.storage.files import read_bytes, remove, write_bytes
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import read_parquet
from qaclims_ray.types import SCHEMAS
from tests.build import png, write_artifact

CLASSES = ("cat", "dog")
FIRST = {"foreground": ["what {}?", "which {}?"], "background": ["under the {}?"]}
MORE = {**FIRST, "background": ["under the {}?", "above the {}?"]}


class Stopped(BaseException):
    """The driver ends here."""


class Engine:
    """Answers by pixels and question, and counts; `refused` questions or colours are refused."""

    def __init__(self):
        self.asked = []
        self.refused = ()
        self.most = 10**9

    def answer(self, images, questions, *, names):
        return [
            [self._say(int(image[0, 0, 0]), text) for text in texts]
            for image, texts in zip(images, questions, strict=True)
        ]

    def _say(self, colour, text):
        if len(self.asked) >= self.most:
            raise Stopped
        self.asked.append((colour, text))
        if text in self.refused or colour in self.refused:
            return NoAnswer("refused", f"no, {colour}")
        return f"{colour} {text}"


@pytest.fixture
def engine(monkeypatch, local_ray):
    """The engine of all runs; their maps go on in this process, block by block."""
    engine = Engine()
    monkeypatch.setattr(answerer, "build_engine", lambda *_, **__: engine)
    monkeypatch.setattr(stage, "map_actor", _map_here)
    return engine


def _map_here(experiment, target, make_actor, *, shards, columns, prepare, **_):
    work, schema = PendingBlocks(target), SCHEMAS["images"]
    work.resume()
    forget_crashes(target)
    actor = make_actor()
    for shard in shards:
        for rows in work.done()(read_parquet(shard, schema).select(columns)):
            for start in range(0, len(rows), 2):
                made = [actor(one) for one in prepare(rows.slice(start, 2))]
                work.write(pa.concat_tables(made))


@pytest.fixture
def make_run(make_experiment, tmp_path):
    """`make_run(name, colours, classes, labels, **overrides)`: a run with images of one colour."""

    def make(name, colours, classes=CLASSES, labels=(0,), questions=FIRST, **overrides):
        section = {"engine": {"kind": "chat", "model": "tiny"}, "questions": questions}
        experiment = make_experiment(tmp_path / name, {"corpus": section, **overrides})
        images = artifact(experiment, "images")
        images.clear()
        rows = [
            {"name": f"i{at}", "image": _image(colour), "labels": list(labels)}
            for at, colour in enumerate(colours)
        ]
        write_artifact(images, rows[:3], rows[3:], facts={"class_names": list(classes)})
        return experiment

    return make


def _image(colour):
    return png(np.full((4, 4, 3), colour, np.uint8))


def _files(experiment):
    return [read_bytes(shard) for shard in artifact(experiment, "corpus").shards()]


def _one_go(engine, make_run, *arguments, **options):
    """The bytes of a corpus that was made at once, and what was asked for it."""
    experiment = make_run("one_go", *arguments, **options)
    engine.asked.clear()
    stage.run(experiment)
    asked, engine.asked = engine.asked, []
    return _files(experiment), asked


GROWTH = {
    "images": ({"colours": (1, 2, 3)}, {"colours": (1, 2, 3, 4, 5)}, 2 * 3),
    "images_in_between": ({"colours": (1, 3)}, {"colours": (1, 2, 3)}, 3),
    "classes": ({"labels": (0,)}, {"classes": (*CLASSES, "cow"), "labels": (0, 2)}, 3 * 3),
    "questions": ({"questions": FIRST}, {"questions": MORE}, 3 * 1),
    "fewer_classes": (
        {"classes": (*CLASSES, "cow"), "labels": (0, 2)},
        {"labels": (0,), "colours": (1, 2)},
        0,
    ),
    "a_class_less_in_the_middle": (
        {"classes": ("cat", "dog", "cow"), "labels": (1, 2)},
        {"classes": ("cat", "cow"), "labels": (1,)},
        0,
    ),
    "fewer": ({"questions": MORE}, {"questions": FIRST, "colours": (3, 1)}, 0),
}


@pytest.mark.parametrize("grown", GROWTH)
def test_what_is_new_is_asked_and_nothing_else(engine, make_run, grown):
    before, after, num_new = GROWTH[grown]
    before, after = {"colours": (1, 2, 3), **before}, {"colours": (1, 2, 3), **after}
    wanted, all_asked = _one_go(engine, make_run, **after)
    stage.run(make_run("run", **before))
    first = set(engine.asked)
    engine.asked.clear()
    experiment = make_run("run", **after)
    with pytest.raises(ValueError, match=r"corpus --overwrite \(which asks nothing that"):
        stage.run(experiment)
    line = stage.run(experiment, overwrite=True)
    assert len(engine.asked) == num_new
    assert set(engine.asked) == set(all_asked) - first
    assert f"{len(all_asked) - num_new} replies known before and not asked for again" in line
    assert _files(experiment) == wanted


def test_equal_images_are_asked_about_once(engine, make_run):
    colours = (7, 7, 1, 7, 2, 1)
    _, asked = _one_go(engine, make_run, colours)
    assert len(asked) == 3 * 3  # in one batch, and in later ones of the process
    rows = read_table(artifact(make_run("one_go", colours), "corpus")).to_pylist()
    said = [[answer["answer"] for answer in row["answers"]] for row in rows]
    texts = ("what cat?", "which cat?", "under the cat?")
    assert said == [[f"{colour} {text}" for text in texts] for colour in colours]


def test_runs_share_a_cache_whatever_their_images_are_called(engine, make_run, tmp_path):
    wanted, _ = _one_go(engine, make_run, (4, 5, 1, 2))
    shared = {"corpus.cache": str(tmp_path / "shared")}
    stage.run(make_run("a", (1, 2, 3), **shared))
    engine.asked.clear()
    other = make_run("b", (4, 5, 1, 2), **shared)
    assert "6 replies known before" in stage.run(other)
    assert {colour for colour, _ in engine.asked} == {4, 5}
    assert _files(other) == wanted
    assert not find(f"{other.run}/answers*")


def test_a_run_takes_what_its_base_was_told(engine, make_run):
    base = make_run("base", (1, 2))
    stage.run(base)
    engine.asked.clear()
    other = make_run("other", (1, 2), questions=MORE, base=[base.run])
    stage.run(other)
    assert {text for _, text in engine.asked} == {"above the cat?"}


def test_another_model_is_asked_all(engine, make_run):
    stage.run(make_run("run", (1, 2)))
    engine.asked.clear()
    changed = {"corpus.engine": {"kind": "chat", "model": "tiny", "max_new_tokens": 9}}
    stage.run(make_run("run", (1, 2), **changed), overwrite=True)
    assert len(engine.asked) == 6
    engine.asked.clear()
    faster = {"corpus.engine": {"kind": "chat", "model": "tiny", "batch_size": 2}}
    stage.run(make_run("run", (1, 2), **faster), overwrite=True)
    assert not engine.asked


def test_a_damaged_file_costs_asking_again_and_is_named(engine, make_run, caplog):
    wanted, _ = _one_go(engine, make_run, (1, 2))
    experiment = make_run("run", (1, 2))
    stage.run(experiment)
    engine.asked.clear()
    (file,) = find(f"{experiment.run}/answers/*.parquet")
    content = read_bytes(file)
    write_bytes(file, content[:60] + bytes([content[60] ^ 1]) + content[61:])
    stage.run(experiment, overwrite=True)
    assert len(engine.asked) == 6
    assert f"corpus.cache: {file} is damaged, remove it: " in caplog.text
    assert _files(experiment) == wanted


def test_what_was_answered_before_a_break_is_kept_whatever_changes_then(engine, make_run):
    wanted, _ = _one_go(engine, make_run, (1, 2, 3), questions=MORE)
    engine.most = 7
    with pytest.raises(Stopped):
        stage.run(make_run("run", (1, 2, 3)))
    engine.asked.clear()
    experiment = make_run("run", (1, 2, 3), questions=MORE)
    with pytest.raises(ValueError, match="unfinished work made with another configuration"):
        stage.run(experiment)
    stage.run(experiment, overwrite=True)
    assert len(engine.asked) == 12 - 6  # a block of two images was whole
    assert _files(experiment) == wanted


def test_a_lost_shard_is_named_and_once_it_is_back_nothing_answered_is_asked_again(
    engine, make_run
):
    wanted, all_asked = _one_go(engine, make_run, (1, 2, 3, 4))
    engine.most = 7
    experiment = make_run("run", (1, 2, 3, 4))
    with pytest.raises(Stopped):
        stage.run(experiment)
    first, engine.asked, engine.most = set(engine.asked[:6]), [], 10**9
    (*_, shard) = artifact(experiment, "images").shards()
    content = read_bytes(shard)
    remove(shard)
    with pytest.raises(ValueError, match=r"is damaged, 1 of 2 files: part-00001\.parquet is"):
        stage.run(experiment)
    write_bytes(shard, content)
    stage.run(experiment)
    assert set(engine.asked) == set(all_asked) - first
    assert _files(experiment) == wanted


def test_an_interrupted_growth_goes_on(engine, make_run):
    wanted, _ = _one_go(engine, make_run, (1, 2, 3, 4, 5, 6))
    stage.run(make_run("run", (1, 2)))
    experiment = make_run("run", (1, 2, 3, 4, 5, 6))
    engine.asked.clear()
    engine.most = 3 * 3
    with pytest.raises(Stopped):
        stage.run(experiment, overwrite=True)
    engine.most = 10**9
    stage.run(experiment)
    assert len(engine.asked) <= 4 * 3 + 2 * 3  # at most the block that was broken off, twice
    assert _files(experiment) == wanted


def test_refusals_are_kept_and_images_without_any_answer_are_not(engine, make_run):
    engine.refused = ("which cat?",)
    experiment = make_run("run", (1, 2), **{"data.max_errors": 9})
    stage.run(experiment)
    first = _files(experiment)
    engine.asked.clear()
    stage.run(experiment, overwrite=True)
    assert not engine.asked
    assert _files(experiment) == first
    refused = {"foreground": ["which {}?"], "background": []}
    experiment = make_run("run", (1, 2), questions=refused, **{"data.max_errors": 9})
    with pytest.raises(ValueError, match="none of its 1 questions was answered"):
        stage.run(experiment, overwrite=True)
    assert len(engine.asked) == 2


def test_images_that_failed_are_asked_again(engine, make_run):
    engine.refused = ("what cat?", "which cat?", "under the cat?")
    experiment = make_run("run", (1, 2), labels=(0,), **{"data.max_errors": 9})
    images = artifact(experiment, "images")
    images.clear()
    rows = [{"name": f"i{at}", "image": _image(at + 1), "labels": [at]} for at in range(2)]
    write_artifact(images, rows, facts={"class_names": list(CLASSES)})
    stage.run(experiment)
    assert read_errors(artifact(experiment, "corpus"))["name"].to_pylist() == ["i0"]
    engine.asked.clear()
    engine.refused = ()
    stage.run(experiment, retry_errors=True)
    assert {colour for colour, _ in engine.asked} == {1}
    assert not len(read_errors(artifact(experiment, "corpus")))


def test_a_block_that_lost_its_failed_rows_is_kept_with_the_others(engine, make_run):
    engine.refused, engine.most = (1,), 8
    experiment = make_run("run", (1, 2, 3, 4), **{"data.max_errors": 1})
    with pytest.raises(Stopped):
        stage.run(experiment)
    engine.refused, engine.most = (), 10**9
    stage.run(experiment)
    engine.asked.clear()
    stage.run(experiment, overwrite=True)
    assert not engine.asked


def test_many_blocks_become_files_of_ranges_that_follow_one_another(engine, make_run, monkeypatch):
    monkeypatch.setattr(keep, "IMAGES", 2 * 64)
    calls = []

    def here(_, work, some):
        calls.append(len(some))
        return [work(*one) for one in some]

    monkeypatch.setattr(stage, "_in_tasks", here)
    experiment = make_run("run", tuple(range(20)))
    stage.run(experiment)
    assert calls == [6, 6]
    names = [uri.rpartition("/")[2] for uri in find(f"{experiment.run}/answers/*.parquet")]
    ranges = [(name[:8], name[9:17]) for name in names]
    assert len(ranges) > 1
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    engine.asked.clear()
    stage.run(experiment, overwrite=True)
    assert not engine.asked
