"""The engine section leads to the engine that it names."""

import numpy as np
import pytest

from qaclims_ray.corpus.engines import build_engine
from qaclims_ray.corpus.vqa import BlipEngine, TableEngine


def test_blip_of_the_demo_answers_with_words_of_its_world() -> None:
    section = {"kind": "blip", "model": "package:demo/weights/blip", "max_length": 6}
    engine = build_engine(section, "cpu")
    assert isinstance(engine, BlipEngine)
    (answers,) = engine.answer([np.zeros((96, 96, 3), np.uint8)], [["what is under the boat?"]])
    assert len(answers) == 1
    assert answers[0]


def test_table_answers_from_the_config() -> None:
    section = {"kind": "table", "answers": {"what is under the boat?": "water"}}
    engine = build_engine(section, "cpu")
    assert isinstance(engine, TableEngine)
    image = np.zeros((4, 4, 3), np.uint8)
    assert engine.answer([image], [["what is under the boat?"]]) == [["water"]]


def test_unknown_engine_names_the_legal_kinds() -> None:
    with pytest.raises(ValueError, match="'blip', 'chat', 'table'"):
        build_engine({"kind": "oracle"}, "cpu")
