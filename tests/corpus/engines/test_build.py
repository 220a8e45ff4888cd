"""The engine section leads to the engine that it names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qaclims_ray.corpus.engines.base import BlipEngine, TableEngine
from qaclims_ray.corpus.engines.build import build_engine


def test_blip_of_the_demo_answers_with_words_of_its_world() -> None:
    section = {"kind": "blip", "model": "package:demo/weights/blip", "max_length": 6}
    engine = build_engine(section, "cpu")
    assert isinstance(engine, BlipEngine)
    image = np.zeros((96, 96, 3), np.uint8)
    (answers,) = engine.answer([image], [["what is under the boat?"]], names=["a"])
    assert len(answers) == 1
    assert answers[0]


def test_table_answers_from_the_config() -> None:
    section = {"kind": "table", "answers": {"what is under the boat?": "water"}}
    engine = build_engine(section, "cpu")
    assert isinstance(engine, TableEngine)
    image = np.zeros((4, 4, 3), np.uint8)
    answers = engine.answer([image], [["what is under the boat?"]], names=["a"])
    assert answers == [["water"]]


def test_each_option_reaches_its_engine(tiny_chat: Callable[[str], str]) -> None:
    blip = {"kind": "blip", "model": "package:demo/weights/blip", "token_budget": 7}
    chat = {"kind": "chat", "model": tiny_chat("llava"), "batch_size": 3, "instruction": "or"}
    server = {"kind": "server", "url": "http://localhost:1/v1", "model": "m", "timeout": 3}
    options = [
        vars(build_engine({**section, "max_new_tokens": 4} if section != blip else blip, "cpu"))
        for section in (blip, chat, server)
    ]
    assert options[0]["_token_budget"] == 7
    assert [options[1][key] for key in ("_batch_size", "_instruction")] == [3, "or"]
    assert [one["_max_new_tokens"] for one in options[1:]] == [4, 4]
    assert options[2]["_timeout"] == (3, 3)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"url": "localhost:8000"}, "url"),
        ({"url": "http://me:secret@host/v1"}, "url"),
        ({"url": "http://host/v1", "key_variable": "sk-1234"}, "key_variable"),
        ({"url": "http://host/v1", "num_connections": 0}, "num_connections"),
    ],
)
def test_a_server_that_makes_no_sense_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_engine({"kind": "server", "model": "m", **section}, "cpu")


def test_unknown_engine_names_the_legal_kinds() -> None:
    with pytest.raises(ValueError, match="'blip', 'chat', 'server', 'vllm', 'table', 'replay'"):
        build_engine({"kind": "oracle"}, "cpu")
