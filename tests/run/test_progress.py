import io
import re
import threading
import time

import pytest
from tqdm import tqdm

from qaclims_ray.run import progress
from qaclims_ray.run.progress import LogLines, progress_bar, watch


@pytest.fixture
def bars(monkeypatch):
    """The bars that were shown."""
    shown = []

    def make(**arguments):
        shown.append(tqdm(**arguments))
        return shown[-1]

    monkeypatch.setattr(progress, "LogLines", make)
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


def _log(updates, *, initial=0, total=100, **more):
    file = io.StringIO()
    with LogLines(total=total, initial=initial, desc="cams", unit="image", leave=False, file=file,
                  mininterval=0, miniters=1, **more) as bar:  # fmt: skip
        for number in updates:
            bar.update(number)
    return file.getvalue()


def test_a_log_has_a_line_at_each_tenth_and_nothing_else():
    text = _log([1] * 100)
    assert "\r" not in text
    assert "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == 10
    for tenth, line in enumerate(lines, start=1):
        assert line.startswith(f"cams: {10 * tenth} of 100 images ({10 * tenth} %) · ")
        assert re.fullmatch(r".* · \S+ a second · \d\d:\d\d left", line)


def test_a_log_has_a_line_once_enough_time_has_passed(monkeypatch):
    assert _log([1] * 12, total=10_000) == ""
    monkeypatch.setattr(progress, "_SECONDS_A_LINE", 0.0)
    lines = _log([1] * 12, total=10_000).splitlines()
    assert [line.split(" of ")[0] for line in lines] == [f"cams: {n + 1}" for n in range(12)]


def test_what_was_done_before_is_no_line_and_no_rate():
    assert _log([], initial=50) == ""
    assert "a second" in _log([10], initial=50)


def test_work_without_units_ends():
    assert _log([], total=0) == ""


def test_a_terminal_has_a_bar_and_a_log_lines(monkeypatch):
    with progress_bar("cams", 3) as bar:
        assert isinstance(bar, LogLines)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar("cams", 3) as bar:
        assert type(bar) is tqdm
