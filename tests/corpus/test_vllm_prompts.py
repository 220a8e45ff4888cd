"""Questions one at a time: how they are listed, put to a model, recorded and brought together."""

import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as pil

from qaclims_ray.config.corpus import Questions, Vllm
from qaclims_ray.corpus.vllm_prompts import (
    ERROR,
    TEXT,
    answered,
    collate,
    image_of,
    join,
    list_questions,
    prompt,
)
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import ROW_GROUP, read_parquet, work_schema
from qaclims_ray.storage.files import atomic_open, find
from qaclims_ray.types import SCHEMAS

CLASSES = ("cat", "dog")
TEMPLATES = Questions(foreground=("which {}?",), background=("what is by the {}?",))
ENGINE = Vllm(kind="vllm", model="m", instruction="Be short.", max_new_tokens=7)


@pytest.fixture
def images(tmp_path, png):
    """Images in two shards of two and one row groups; the second one of the second is torn."""

    def row(index, labels):
        file = png(np.full((6, 8, 3), index % 256, np.uint8))
        torn = index == ROW_GROUP + 3
        return {"name": f"i{index:03d}", "image": file[:30] if torn else file, "labels": labels}

    target = Artifact("images", str(tmp_path / "images"), {})
    shards = [
        [row(index, [0] if index else [0, 1]) for index in range(ROW_GROUP + 2)],
        [row(ROW_GROUP + 2, []), row(ROW_GROUP + 3, [1])],
    ]
    for number, rows in enumerate(shards):
        with atomic_open(f"{target.uri}/part-{number:05d}.parquet") as file:
            table = pa.Table.from_pylist(rows, schema=SCHEMAS["images"])
            pq.write_table(table, file, row_group_size=ROW_GROUP)
    return target


@pytest.fixture
def listed(images, tmp_path):
    return list_questions(images, CLASSES, TEMPLATES, str(tmp_path / "questions"))


def questions(listed):
    return [row for uri in listed for row in read_parquet(uri).to_pylist()]


def test_every_question_is_listed_once_in_order_and_knows_where_its_image_lies(images, listed):
    rows = questions(listed)
    assert list(listed.values()) == [2 * (ROW_GROUP + 3), 2]
    assert [row["name"] for row in rows[:6]] == [
        *(f"i000#{number:04d}" for number in range(4)),
        "i001#0000",
        "i001#0001",
    ]
    assert rows[3] == {
        "name": "i000#0003",
        "image": "i000",
        "shard": images.shards()[0],
        "group": 0,
        "label": 1,
        "kind": "bg",
        "question": "what is by the dog?",
    }
    assert {(row["image"], row["group"]) for row in rows[-6:-2]} == {
        (f"i{ROW_GROUP:03d}", 1),
        (f"i{ROW_GROUP + 1:03d}", 1),
    }
    assert len({row["name"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", ["plain", "a#b", "folder/x#0001", "ü"])
def test_a_question_knows_its_image_whatever_that_is_called(name):
    assert image_of(f"{name}#0012") == name


def test_a_prompt_shows_the_image_first_then_asks(listed):
    row = questions(listed)[2 * (ROW_GROUP + 1)]  # the second row group's first
    made = prompt(row, ENGINE, 100)
    ((message,)) = made["messages"]
    picture, text = message["content"]
    assert message["role"] == "user"
    assert text == {"type": "text", "text": "which cat? Be short."}
    assert made["sampling_params"] == {"temperature": 0.0, "max_tokens": 7}
    assert made[ERROR] == ""
    head, encoded = picture["image_url"]["url"].split(",")
    assert (picture["type"], head) == ("image_url", "data:image/jpeg;base64")
    shown = np.asarray(pil.open(io.BytesIO(base64.b64decode(encoded))))
    assert shown.shape == (6, 8, 3)
    assert np.abs(shown.astype(int) - ROW_GROUP).max() <= 1


def test_an_image_that_cannot_be_read_comes_with_its_error_in_a_prompt_of_the_same_shape(listed):
    rows = questions(listed)
    whole, torn = prompt(rows[0], ENGINE, 100), prompt(rows[-1], ENGINE, 100)
    assert torn[ERROR].startswith("ValueError: ")
    assert torn["messages"][0]["content"][0]["image_url"]["url"] == ""
    # Ray Data makes one Arrow type of them.
    assert pa.array([whole, torn]).type == pa.array([whole]).type
    too_large = prompt(rows[0], ENGINE, 47)
    assert "pixels" in too_large[ERROR]


def test_an_answer_is_cleaned_and_lemmatised():
    row = {
        "name": "a#0000",
        "label": 1,
        "kind": "bg",
        "question": "q?",
        TEXT: " Sofas.\n",
        ERROR: "",
    }
    assert answered(row) == {
        "name": "a#0000",
        "answers": [
            {"label": 1, "kind": "bg", "question": "q?", "answer": "sofas", "lemma": "sofa"}
        ],
        "error": None,
    }


def test_a_failed_question_needs_no_answer():
    assert answered({"name": "a#0000", ERROR: "too long"}) == {
        "name": "a#0000",
        "error": "too long",
    }


def said(name, text=None, error=None):
    answer = {"label": 0, "kind": "fg", "question": "q?", "answer": text, "lemma": text}
    return {"name": name, "answers": None if error else [answer], "error": error}


def test_questions_come_together_as_images_and_one_failure_fails_its_image():
    asked = [said("a#0000", "x"), said("a#0001", "y"), said("c#0000", "z")]
    asked += [said("c#0001", error="first"), said("c#0002", error="second")]
    rows = join(["a", "b", "c"], asked)
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [answer["answer"] for answer in rows[0]["answers"]] == ["x", "y"]
    assert rows[1] == {"name": "b", "answers": [], "error": None}
    assert rows[2] == {"name": "c", "error": "first"}


def test_collated_blocks_do_not_depend_on_those_of_the_answers(images, listed, tmp_path):
    """Blocks of 5 shuffled answers, or all in one."""
    rows = [said(row["name"], row["name"]) for row in questions(listed)]
    np.random.default_rng(0).shuffle(rows)
    for size in (5, len(rows)):
        asked = Artifact("corpus", str(tmp_path / f"asked{size}"), {})
        target = Artifact("corpus", str(tmp_path / f"corpus{size}"), {})
        for start in range(0, len(rows), size):
            with atomic_open(f"{asked.work}/rows/{start}.parquet") as file:
                part = pa.Table.from_pylist(rows[start : start + size], work_schema("corpus"))
                pq.write_table(part, file)
        collate(images, list(listed), asked, target)
        blocks = [read_parquet(uri).to_pylist() for uri in find(f"{target.work}/rows/*.parquet")]
        assert [len(block) for block in blocks] == [ROW_GROUP + 2, 2]
        names = [row["name"] for block in blocks for row in block]
        assert names == [f"i{index:03d}" for index in range(ROW_GROUP + 4)]
        texts = [answer["answer"] for answer in blocks[0][0]["answers"]]
        assert texts == [f"i000#{number:04d}" for number in range(4)]
        assert [len(row["answers"]) for row in blocks[1]] == [0, 2]


def test_an_answer_that_is_missing_is_a_fault_of_ours(images, listed, tmp_path):
    asked = Artifact("corpus", str(tmp_path / "asked"), {})
    with atomic_open(f"{asked.work}/rows/0.parquet") as file:
        pq.write_table(pa.Table.from_pylist([said("i000#0000", "x")], work_schema("corpus")), file)
    with pytest.raises(KeyError, match="i000#0001"):
        collate(images, list(listed), asked, Artifact("corpus", str(tmp_path / "corpus"), {}))
