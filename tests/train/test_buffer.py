import errno
import multiprocessing
import os
import resource
import signal
import threading

import numpy as np
import pyarrow as pa
import pytest

from qaclims_ray.train.buffer import ReadAhead, allow_open_files, as_bytes
from qaclims_ray.train.deal import BufferedEpoch
from tests.train.disk import held_bytes

GROUPS, ROWS, IMAGE_BYTES = 40, 4, 20_000
COUNTS = np.full(GROUPS, ROWS)
SIZE = ROWS * IMAGE_BYTES + 4000
SIZES = np.full(GROUPS, SIZE)
BUFFER = GROUPS * SIZE // 10
"""A tenth of the set: of each of two lanes one row group in use, and one on its way."""


def read(number):
    """The rows of a row group; the name of an image is its number in the set."""
    names = [str(number * ROWS + row) for row in range(ROWS)]
    images = [np.random.default_rng(int(name)).bytes(IMAGE_BYTES) for name in names]
    return pa.table({"name": names, "image": images, "labels": [[row] for row in range(ROWS)]})


def _epoch(epoch=0):
    window_bytes = BUFFER // (2 * 2)
    options = {"num_lanes": 2, "window_bytes": window_bytes}
    return BufferedEpoch(COUNTS, SIZES, seed=0, epoch=epoch, **options)


def _ahead(folder, lanes=(0, 1), read=read, first=0):
    windows = [_epoch().windows(lane, first) for lane in lanes]
    return ReadAhead(read, SIZES, windows, str(folder)).steps()


@pytest.mark.parametrize("first", [0, 30])
def test_rows_come_in_the_order_of_the_epoch_as_they_were_written(tmp_path, first):
    expected = [step.tolist() for step in _epoch().rows(first)]
    found = list(_ahead(tmp_path, first=first))
    assert [[number for number, _ in step] for step in found] == expected
    for step in found:
        for number, row in step:
            assert row["name"] == str(number)
            assert row["image"] == np.random.default_rng(number).bytes(IMAGE_BYTES)
            assert row["labels"] == [number % ROWS]


def test_the_disk_never_holds_more_than_the_buffer(tmp_path):
    """Looked at in each step, and by those who read while they hold what they will write."""
    most = []

    def watched(number):
        most.append(held_bytes(tmp_path))
        return read(number)

    most.extend(held_bytes(tmp_path) for _ in _ahead(tmp_path, read=watched))
    assert len(most) > GROUPS
    assert BUFFER / 2 < max(most) <= BUFFER
    assert held_bytes(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_two_workers_of_one_node_share_the_buffer(tmp_path):
    both = zip(_ahead(tmp_path, lanes=[0]), _ahead(tmp_path, lanes=[1]), strict=True)
    rows = [[one[0][0], other[0][0]] for one, other in both if held_bytes(tmp_path) <= BUFFER]
    assert rows == [step.tolist() for step in _epoch().rows()]


def test_what_comes_next_is_read_before_it_is_needed(tmp_path):
    later = next(_epoch().windows(0, ROWS)).groups[0]
    was_read = threading.Event()

    def watched(number):
        if number == later:
            was_read.set()
        return read(number)

    steps = _ahead(tmp_path, read=watched)
    next(steps)
    assert was_read.wait(60)


def test_an_epoch_that_is_left_leaves_nothing(tmp_path):
    steps = _ahead(tmp_path)
    next(steps)
    assert held_bytes(tmp_path) > 0
    steps.close()
    del steps
    assert held_bytes(tmp_path) == 0


def test_a_process_that_is_killed_leaves_nothing(tmp_path):
    def die():
        steps = _ahead(tmp_path)
        for _ in range(7):
            next(steps)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_an_error_where_it_is_needed(tmp_path):
    last = [*_epoch().windows(0)][-1].groups[-1]

    def broken(number):
        if number == last:
            raise ValueError("part-00007.parquet was lost")
        return read(number)

    taken = 0
    with pytest.raises(ValueError, match=r"part-00007\.parquet was lost"):  # noqa: PT012
        for _ in _ahead(tmp_path, lanes=[0], read=broken):
            taken += 1
    assert taken > _epoch().steps - ROWS - 1


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    told = rf"{tmp_path}: No space left on device.*lower compute\.train\.cache_gigabytes"
    with pytest.raises(ValueError, match=told):
        list(_ahead(tmp_path))


def test_the_limit_of_open_files_grows_with_the_images_of_a_step(monkeypatch):
    limits, given = {resource.RLIMIT_NOFILE: (1024, 4096)}, []
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, both: given.append(both))
    for number in (0, 1000, 10_000):
        allow_open_files(number)
    assert given == [(2024, 4096), (4096, 4096)]


def test_bytes_that_are_there_twice_are_written_once():
    image = np.random.default_rng(0).bytes(50_000)
    table = pa.table({"name": ["a", "b", "c"], "image": [image, image, b""], "n": [1, 2, 3]})
    content = as_bytes(table)
    assert content.size < 60_000
    assert pa.ipc.open_stream(content).read_all().to_pylist() == table.to_pylist()
