import numpy as np
import pytest

from qaclims_ray.config.corpus import Table
from qaclims_ray.corpus.engines.table import TableEngine

IMAGES = [np.zeros((4, 4, 3), np.uint8)] * 2


def test_table_engine_looks_questions_up():
    engine = TableEngine(Table(kind="table", answers={"what is under the boat?": "water"}))
    asked = [["what is under the boat?"], []]
    assert engine.answer(IMAGES, asked, names=["a", "b"]) == [["water"], []]
    with pytest.raises(ValueError, match=r"no answer to 'what is the sky\?', one of 1 such"):
        engine.answer(IMAGES, [["what is the sky?"], []], names=["a", "b"])
