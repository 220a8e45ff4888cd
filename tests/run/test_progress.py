import threading
import time

import pytest
from tqdm import tqdm

from qaclims_ray.run import progress
from qaclims_ray.run.progress import watch


@pytest.fixture
def bars(monkeypatch):
    """The bars that were shown."""
    shown = []

    def make(**arguments):
        shown.append(tqdm(**arguments))
        return shown[-1]

    monkeypatch.setattr(progress, "tqdm", make)
    return shown


def _wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_bar_follows_the_count(bars):
    done = 0
    with watch("cams", lambda: done, 10, seconds=0.01):
        done = 3
        _wait_until(lambda: bars[0].n == 3)
        done = 10
        _wait_until(lambda: bars[0].n == 10)
    assert (bars[0].total, bars[0].desc) == (10, "cams")


def test_nothing_is_asked_after_the_body(bars):
    asked = []
    with watch("cams", lambda: len(asked.append(None) or asked), 10, seconds=0.001):
        _wait_until(lambda: len(asked) > 2)
    before = len(asked)
    time.sleep(0.02)
    assert len(asked) == before


def test_an_error_of_the_body_gets_through_and_the_thread_ends(bars):
    before = threading.active_count()
    with pytest.raises(KeyError), watch("cams", lambda: 0, 10):
        raise KeyError
    assert threading.active_count() == before
