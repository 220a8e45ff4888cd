"""Blocks of unfinished work: exactly once, whatever the moment of an interruption."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from qaclims_ray.run.artifact import Artifact, own_artifact
from qaclims_ray.run.blocks import Count, PendingBlocks, map_here, reopen, work_schema
from qaclims_ray.run.faults import CrashLog
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.publish import publish
from qaclims_ray.run.tables import read_errors, read_table
from qaclims_ray.storage.files import read_bytes, remove, write_bytes
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import read_parquet

NAME = pa.schema([("name", pa.string())])
ANSWER = {"label": 0, "kind": "fg", "question": "?", "answer": "a", "lemma": "a"}


@pytest.fixture
def target(tmp_path) -> Artifact:
    return Artifact("corpus", str(tmp_path / "corpus"), {})


def _rows(names: str, failed: str = "") -> pa.Table:
    """One row for each letter, with three answers or an error."""
    good = [{"name": name, "answers": [ANSWER] * 3} for name in names]
    bad = [{"name": name, "error": "torn"} for name in failed]
    return pa.Table.from_pylist([*good, *bad], schema=work_schema("corpus"))


def _found(work: PendingBlocks) -> list[str]:
    """Names of the rows that are there."""
    rows = [name for uri in work.blocks() for name in read_parquet(uri, NAME)["name"].to_pylist()]
    return sorted(rows)


def test_whole_blocks_are_kept_and_counted(target):
    work = PendingBlocks(target, "answers")
    work.put("x", _rows("ab"))
    work.put("y", _rows("c"))
    assert work.resume() == work.count() == Count(3, 0, 9)
    assert _found(work) == ["a", "b", "c"]


def test_failed_rows_are_forgotten_and_good_ones_of_their_block_kept(target):
    work = PendingBlocks(target, "answers")
    work.put("x", _rows("a", failed="b"))
    work.put("y", _rows("", failed="c"))
    work.put("z", _rows("d"))
    assert work.resume() == Count(2, 0, 6)
    assert _found(work) == ["a", "d"]
    assert work.resume() == Count(2, 0, 6)


@pytest.mark.parametrize("how", ["torn", "gone"])
def test_a_damaged_file_costs_its_block_only(target, how):
    work = PendingBlocks(target)
    work.put("x", _rows("ab"))
    work.put("y", _rows("c"))
    uri = f"{work.rows}/x.parquet"
    remove(uri) if how == "gone" else write_bytes(uri, read_bytes(uri)[:50])
    assert work.resume().rows == 1
    assert _found(work) == ["c"]


def test_a_map_says_what_its_blocks_hold_and_rows_written_twice_are_there_once(target):
    work = PendingBlocks(target, "answers")
    for names in ("ab", "c", "ab", ""):
        assert work.note(work.write(_rows(names))) == Count(len(names), 0, 3 * len(names))
    assert work.note(work.write(_rows("d", failed="e"))) == Count(2, 1, 3)
    assert work.count() == Count(5, 1, 12)
    assert _found(work) == ["a", "b", "c", "d", "e"]


def test_what_another_driver_left_meanwhile_is_removed(target):
    work = PendingBlocks(target)
    work.put("x", _rows("a"))
    work.resume()
    work.note(work.write(_rows("b")))
    PendingBlocks(target).write(_rows("ab"))
    work.tidy()
    assert _found(work) == ["a", "b"]


@pytest.mark.parametrize("blocks", [["ab", "ef", "c"], ["be", "acf"], []])
@pytest.mark.parametrize("rows", ["abcd", "dg", "efg", ""])
def test_rows_that_are_done_are_dropped(target, blocks, rows):
    work = PendingBlocks(target)
    for block in blocks:
        work.put(block, _rows(block))
    work.resume()
    left = [table["name"].to_pylist() for table in work.done()(_rows(rows))]
    wanted = [name for name in rows if name not in "".join(blocks)]
    assert left == ([wanted] if wanted else [])


def test_of_blocks_that_can_hold_none_of_the_rows_nothing_is_read(target):
    work = PendingBlocks(target)
    work.put("x", _rows("ac"))
    work.put("y", _rows("xz"))
    work.resume()
    remove(f"{work.rows}/y.parquet")
    (left,) = work.done()(_rows("abc"))
    assert left["name"].to_pylist() == ["b"]
    with pytest.raises(FileNotFoundError, match="finished rows"):
        list(work.done()(_rows("y")))


def test_a_row_group_without_rows_has_no_statistics_and_no_rows(target):
    work = PendingBlocks(target, "answers")
    work.put("x", _rows(""))
    work.put("y", _rows("c"))
    assert work.resume() == work.count() == Count(1, 0, 3)


def test_a_complete_artifact_becomes_unfinished_work_without_its_failed_rows(target):
    work = PendingBlocks(target)
    work.put("x", _rows("ab", failed="c"))
    publish(target, shard_megabytes=0.00001, max_errors=1)
    assert len(target.shards()) > 1
    reopen(target)
    assert work.resume().rows == 2
    assert _found(work) == ["a", "b"]
    work.put("y", _rows("c"))
    publish(target, shard_megabytes=1.0, max_errors=0, expected=3)
    assert read_table(target, ["name"])["name"].to_pylist() == ["a", "b", "c"]
    assert read_errors(target).num_rows == 0


def test_a_map_in_this_process_starts_afresh_and_makes_a_block_of_each_table(target):
    work = PendingBlocks(target)
    work.put("old", _rows("z"))
    with CrashLog(target).at_work(["a"]):
        pass

    def make_actor() -> Callable[[pa.Table], pa.Table]:
        assert _found(work) == []
        assert CrashLog(target).crashes("a") == 0
        return lambda table: _rows("".join(table["name"].to_pylist()))

    map_here([pa.table({"name": names}) for names in (["b", "a"], ["c"])], target, make_actor)
    blocks = [read_parquet(uri, NAME)["name"].to_pylist() for uri in work.blocks()]
    assert blocks == [["b", "a"], ["c"]]
    publish(target, shard_megabytes=1.0, max_errors=0, expected=3)
    assert read_table(target, ["name"])["name"].to_pylist() == ["a", "b", "c"]


def test_blocks_of_a_map_in_this_process_count_for_nothing_where_one_goes_on(target):
    """It always starts afresh, and so nothing says which rows it did."""
    map_here([pa.table({"name": ["a"]})], target, lambda: lambda _: _rows("a"))
    assert PendingBlocks(target).resume().rows == 0
    assert PendingBlocks(target).blocks() == []


NAMES, BAD, BLOCK_ROWS = "dabfce", "b", 2


class Killed(BaseException):
    """Like SIGKILL: nobody handles it."""


class Store:
    """An object store in memory whose clients die before the write or removal number `last`."""

    def __init__(self) -> None:
        self.done, self.last = 0, 10**9

    def revive(self, last: int = 10**9) -> None:
        self.done, self.last = 0, last

    def change(self, path: str) -> None:
        self.done += 1
        if self.done > self.last:
            raise Killed(path)


@pytest.fixture
def store(monkeypatch) -> Iterator[Store]:
    store, pipe, remove = Store(), MemoryFileSystem.pipe_file, MemoryFileSystem.rm_file

    def pipe_file(self, path, value, *args, **kwargs):
        if store.done == store.last and "/rows/" in path:  # a disk that writes in place
            pipe(self, path, value[: len(value) // 2])
        store.change(path)
        return pipe(self, path, value, *args, **kwargs)

    def rm_file(self, path):
        store.change(path)
        return remove(self, path)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    monkeypatch.setattr(MemoryFileSystem, "rm_file", rm_file)
    _empty()
    yield store
    _empty()


def _empty() -> None:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


class Stage:
    """A stage whose map does what Ray Data does, in its order; one row always fails."""

    def __init__(self, answer: str, bad: str = BAD, shard_bytes: int = 40) -> None:
        self._answer, self._bad = {**ANSWER, "answer": answer}, bad
        self._megabytes = shard_bytes / 1e6

    def __call__(self, target: Artifact) -> Built:
        self._target, work = target, PendingBlocks(target)
        if work.resume().rows < len(NAMES):
            self._map(work)
        work.tidy()
        listed = [{"name": "x", "error": "no such file"}]
        work.put("listing", pa.Table.from_pylist(listed, schema=work_schema("corpus")))
        size, wanted = self._megabytes, len(NAMES) + 1
        return Built(*publish(target, shard_megabytes=size, max_errors=2, expected=wanted), {})

    def _map(self, work: PendingBlocks) -> None:
        done = _found(work)
        missing = [name for name in NAMES if name not in done]
        for start in range(0, len(missing), BLOCK_ROWS):
            rows = [self._row(name) for name in missing[start : start + BLOCK_ROWS]]
            table = pa.Table.from_pylist(rows, schema=work_schema("corpus"))
            work.note(PendingBlocks(self._target).write(table))

    def _row(self, name: str) -> dict:
        if name in self._bad:
            return {"name": name, "error": "torn"}
        return {"name": name, "answers": [self._answer], "error": None}


def _content(target: Artifact) -> dict[str, bytes]:
    """What a complete artifact holds; the rest of its work may be there still."""
    assert target.is_complete()
    files = [uri for uri in find(f"{target.uri}/**") if uri.endswith(".parquet")]
    return {uri: read_bytes(uri) for uri in files if "/_work/" not in uri}


@pytest.fixture
def experiment(make_experiment):
    return make_experiment("memory://run")


def _moments(store: Store, prepare: Callable[[], object], run: Callable[[], object]) -> range:
    """All moments at which a run can be killed."""
    prepare()
    store.revive()
    run()
    return range(store.done)


def _disturbed(
    store: Store, prepare: Callable[[], object], run: Callable[[], object], last: int
) -> None:
    """A run that is killed, and its next one too, often while it takes up the work."""
    _empty()
    store.revive()
    prepare()
    for moment in (last, last * 7 % 13 + 1):
        store.revive(moment)
        with suppress(Killed):
            run()
    store.revive()


def test_killed_at_any_moment_it_ends_as_an_undisturbed_one(store, experiment):
    """Also where the shards' size is changed before the last run."""
    target = own_artifact(experiment, "corpus")

    def run(shard_bytes: int = 15) -> None:
        make(experiment, "corpus", Stage("a", shard_bytes=shard_bytes), overwrite=False)

    run(40)
    expected = _content(target)
    moments = _moments(store, _empty, run)
    assert len(moments) > 15
    assert len(_content(target)) > len(expected) > 2
    complete = 0
    for last in moments:
        _disturbed(store, _empty, run, last)
        complete += target.is_complete()
        if not target.is_complete():
            run(40)
            assert _content(target) == expected, last
    assert complete < len(moments) / 2


def test_killed_while_it_is_made_anew_it_is_the_old_or_the_new_one(store, experiment):
    target = own_artifact(experiment, "corpus")
    contents = []
    for answer in "no":
        make(experiment, "corpus", Stage(answer), overwrite=True)
        contents.append(_content(target))
    old, new = contents
    assert old != new

    def prepare() -> None:
        _empty()
        make(experiment, "corpus", Stage("n"), overwrite=False)

    def run() -> None:
        make(experiment, "corpus", Stage("o"), overwrite=True)

    seen = set()
    for last in _moments(store, prepare, run):
        _disturbed(store, prepare, run, last)
        make(experiment, "corpus", Stage("o"), overwrite=False)
        content = _content(target)
        assert content in (old, new), last
        seen.add(content == new)
    assert True in seen


def test_killed_while_unfinished_work_is_removed_all_or_nothing_of_it_is_used(store, experiment):
    target = own_artifact(experiment, "corpus")

    def prepare() -> None:
        _empty()
        store.revive(5)
        with suppress(Killed):
            make(experiment, "corpus", Stage("n"), overwrite=False)
        store.revive()

    def run() -> None:
        make(experiment, "corpus", Stage("o"), overwrite=True)

    seen = set()
    for last in _moments(store, prepare, run):
        prepare()
        store.revive(last)
        with suppress(Killed):
            run()
        store.revive()
        make(experiment, "corpus", Stage("o"), overwrite=False)
        rows = read_table(target).to_pylist()
        seen.add(frozenset(row["name"] for row in rows if row["answers"][0]["answer"] == "n"))
    assert seen == {frozenset("daf"), frozenset()}


def test_killed_while_failed_rows_are_tried_again_nothing_else_is_lost(store, experiment):
    target = own_artifact(experiment, "corpus")

    def prepare() -> None:
        _empty()
        make(experiment, "corpus", Stage("a"), overwrite=False)
        PendingBlocks(target).put("left", _rows("d"))  # by a run killed when all was done

    def run() -> None:
        make(experiment, "corpus", Stage("z", bad=""), overwrite=False, reopen=reopen)

    moments = _moments(store, prepare, run)
    expected = _content(target)
    said = {row["name"]: row["answers"][0]["answer"] for row in read_table(target).to_pylist()}
    assert said == {name: "z" if name == BAD else "a" for name in NAMES}
    for last in moments:
        _disturbed(store, prepare, run, last)
        if not target.is_complete() or BAD in read_errors(target)["name"].to_pylist():
            run()
        assert _content(target) == expected, last
