"""The engine section leads to the engine that it names."""

import numpy as np

from qaclims_ray.config.corpus import Blip, Chat, Server, Table
from qaclims_ray.corpus.engines.base import Engine
from qaclims_ray.corpus.engines.blip import BlipEngine
from qaclims_ray.corpus.engines.build import build_engine
from qaclims_ray.corpus.engines.table import TableEngine

IMAGE = np.zeros((96, 96, 3), np.uint8)
QUESTION = "what is under the boat?"


def _build(section):
    return build_engine(section, device="cpu", num_gpus=1.0)


def test_blip_of_the_demo_answers_with_words_of_its_world():
    engine = _build(Blip(kind="blip", model="package:demo/weights/blip", max_length=6))
    assert isinstance(engine, BlipEngine)
    ((answer,),) = engine.answer([IMAGE], [[QUESTION]], names=["a"])
    assert answer


def test_table_answers_from_the_config():
    engine = _build(Table(kind="table", answers={QUESTION: "water"}))
    assert isinstance(engine, TableEngine)
    assert engine.answer([IMAGE], [[QUESTION]], names=["a"]) == [["water"]]


def test_options_reach_chat_model_and_server(tiny_chat):
    common = {"instruction": "or", "max_new_tokens": 4}
    chat = _build(Chat(kind="chat", model=tiny_chat("llava"), batch_size=3, **common)).engine
    keys = ("_batch_size", "_instruction", "_max_new_tokens")
    assert [vars(chat)[key] for key in keys] == [3, "or", 4]
    server = _build(Server(kind="server", url="http://localhost:1/v1", model="m", timeout=3)).engine
    assert vars(server)["_timeout"] == (3, 3)
    assert isinstance(chat, Engine)
    assert isinstance(server, Engine)
