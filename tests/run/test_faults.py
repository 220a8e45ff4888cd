import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import work_schema
from qaclims_ray.run.faults import MAX_CRASHES, CrashLog, IsolatedMap, StageError, forget_crashes


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Artifact:
    return Artifact("texts", str(tmp_path_factory.mktemp("run") / "texts"), {})


@pytest.fixture(autouse=True)
def _no_deaths(target):
    forget_crashes(target)


def _compute(bad: set[str], seen: list[list[str]] | None = None) -> Callable:
    def compute(rows):
        if seen is not None:
            seen.append([row["text"] for row in rows])
        for row in rows:
            if row["text"] in bad:
                raise OSError(f"cannot read {row['text']}")
        return [{"text": row["text"], "feature": [1.0]} for row in rows]

    return compute


def _rows(num_rows: int) -> list[dict]:
    return [{"text": f"{i:02d}"} for i in range(num_rows)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, 19)))))
def test_a_bad_row_loses_no_good_one(target, case):
    num_rows, numbers = case
    bad = {f"{number:02d}" for number in numbers}
    forget_crashes(target)
    block = IsolatedMap(target, 100)(_rows(num_rows), _compute(bad))
    assert block.schema == work_schema("texts")
    assert block["text"].to_pylist() == [row["text"] for row in _rows(num_rows)]
    for row in block.to_pylist():
        if row["text"] in bad:
            assert row["error"] == f"OSError: cannot read {row['text']}"
            assert row["feature"] is None
        else:
            assert (row["error"], row["feature"]) == (None, [1.0])


def test_the_bad_row_is_found_by_halving(target):
    seen: list[list[str]] = []
    IsolatedMap(target, 1)(_rows(16), _compute({"05"}, seen))
    assert [len(rows) for rows in seen] == [16, 8, 4, 4, 2, 1, 1, 2, 8]


def test_a_good_batch_is_computed_once(target):
    seen: list[list[str]] = []
    IsolatedMap(target, 0)(_rows(16), _compute(set(), seen))
    assert [len(rows) for rows in seen] == [16]


def test_a_row_that_failed_before_is_not_tried_and_keeps_its_place_and_reason(target):
    seen: list[list[str]] = []
    rows = [{"text": "00", "error": None}, {"text": "01", "error": "torn"}, {"text": "02"}]
    block = IsolatedMap(target, 1)(rows, _compute(set(), seen)).to_pylist()
    assert seen == [["00", "02"]]
    assert [(row["text"], row["error"]) for row in block] == [
        ("00", None), ("01", "torn"), ("02", None)
    ]  # fmt: skip


def _with_error_values(bad: set[str], seen: list[list[str]]) -> Callable:
    def compute(rows):
        seen.append([row["text"] for row in rows])
        made = [{"text": row["text"], "feature": [1.0]} for row in rows]
        return [{**row, "error": "torn"} if row["text"] in bad else row for row in made]

    return compute


def test_an_error_that_is_returned_costs_no_other_row_a_second_try(target):
    seen: list[list[str]] = []
    block = IsolatedMap(target, 2)(_rows(8), _with_error_values({"02", "05"}, seen)).to_pylist()
    assert [len(rows) for rows in seen] == [8]
    assert [row["text"] for row in block] == [row["text"] for row in _rows(8)]
    failed = [row for row in block if row["error"] is not None]
    assert failed == [{"text": text, "feature": None, "error": "torn"} for text in ("02", "05")]


def test_errors_that_are_returned_count(target):
    with pytest.raises(StageError, match=r"data.max_errors = 1 rows of texts.*05: torn"):
        IsolatedMap(target, 1)(_rows(8), _with_error_values({"02", "05"}, []))


def test_what_is_no_rows_fault_stops_at_once(target):
    seen: list[int] = []

    def unreachable(rows):
        seen.append(len(rows))
        raise StageError("no server at http://nowhere")

    with pytest.raises(StageError, match="no server"):
        IsolatedMap(target, 100)(_rows(8), unreachable)
    assert seen == [8]


def test_too_many_failures_in_a_process_stop_it(target):
    attempt = IsolatedMap(target, 2)
    assert attempt(_rows(4), _compute({"00", "01"}))["error"].null_count == 2
    with pytest.raises(ValueError, match=r"data.max_errors = 2 rows of texts.*03: OSError"):
        attempt(_rows(4), _compute({"03"}))


def test_an_interruption_is_no_bad_row(target):
    def interrupted(rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        IsolatedMap(target, 9)(_rows(2), interrupted)


def test_what_a_failed_batch_held_is_free_before_its_halves_are_tried(target):
    """Else a batch too large for the GPU's memory would leave none for its halves."""

    class Held:
        pass

    held: list[weakref.ref] = []

    def compute(rows):
        gc.collect()
        assert not any(reference() for reference in held)
        tensor = Held()
        held.append(weakref.ref(tensor))
        if len(rows) > 1:
            raise MemoryError
        return [{"text": row["text"], "feature": [1.0]} for row in rows]

    block = IsolatedMap(target, 0)(_rows(8), compute)
    assert (block["error"].null_count, len(held)) == (8, 15)


def _die(attempt: IsolatedMap, rows: list[dict]) -> list[list[str]]:
    """What is in work until the process ends; SystemExit stands for it."""
    seen: list[list[str]] = []

    def compute(rows):
        seen.append([row["text"] for row in rows])
        if any(row["text"] == "05" for row in rows):
            raise SystemExit
        return [{"text": row["text"], "feature": [1.0]} for row in rows]

    with pytest.raises(SystemExit):
        attempt(rows, compute)
    return seen


def test_after_a_death_rows_go_alone_and_the_deadly_one_is_recorded(target):
    everything = [row["text"] for row in _rows(8)]
    alone = [[text] for text in everything]
    assert _die(IsolatedMap(target, 9), _rows(8)) == [everything]
    for _ in range(MAX_CRASHES - 1):
        assert _die(IsolatedMap(target, 9), _rows(8)) == alone[:6]
    seen: list[list[str]] = []
    block = IsolatedMap(target, 9)(_rows(8), _compute(set(), seen)).to_pylist()
    assert seen == [*alone[:5], *alone[6:]]
    assert [row["text"] for row in block if row["error"]] == ["05"]
    assert f"ended its process {MAX_CRASHES} times" in block[5]["error"]


def test_other_rows_stay_together_after_a_death(target):
    _die(IsolatedMap(target, 9), _rows(8))
    seen: list[list[str]] = []
    later = [{"text": "20"}, {"text": "03"}, {"text": "21"}]
    block = IsolatedMap(target, 9)(later, _compute(set(), seen))
    assert seen == [["20", "21"], ["03"]]
    assert block["text"].to_pylist() == ["20", "03", "21"]


def test_deaths_are_forgotten_when_a_map_starts(target):
    _die(IsolatedMap(target, 9), _rows(8))
    forget_crashes(target)
    seen: list[list[str]] = []
    IsolatedMap(target, 9)(_rows(8), _compute(set(), seen))
    assert len(seen) == 1


def test_a_death_is_of_all_rows_that_threads_are_at(target):
    """The page of a process tells of both batches, and again of one when the other has ended."""
    log = CrashLog(target)
    with log.at_work(["a"]):
        with log.at_work(["b", "c"]):
            assert [CrashLog(target).crashes(key) for key in "abcd"] == [1, 1, 1, 0]
        with log.at_work(["d"]):
            assert [CrashLog(target).crashes(key) for key in "abcd"] == [1, 0, 0, 1]


def test_a_row_that_was_in_work_at_a_death_waits_until_nothing_else_is(target, monkeypatch):
    """Else the next death would be another row's too, whose image would fail for it."""
    _die(IsolatedMap(target, 9), _rows(8))
    attempt, asks = IsolatedMap(target, 9), threading.Event()
    turns = attempt._crash_log._turns
    wait = turns.wait_for
    monkeypatch.setattr(turns, "wait_for", lambda is_free: asks.set() or wait(is_free))
    seen: list[list[str]] = []
    with ThreadPoolExecutor() as pool:
        with attempt._crash_log.at_work(["20"]):
            asks.clear()
            suspected = pool.submit(attempt, _rows(2), _compute(set(), seen))
            assert asks.wait(60)
            with turns:  # is free when the other thread waits, or goes on
                assert attempt._crash_log._in_work == [["20"]]
        assert suspected.result()["error"].null_count == 2
    assert seen == [["00"], ["01"]]
