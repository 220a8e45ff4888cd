import os
import socket
import subprocess
import sys
import time

import pytest

from qaclims_ray.run import lease as owner
from qaclims_ray.run.lease import OWNER, lease, on_behalf_of
from qaclims_ray.storage.files import read_json, write_bytes, write_json

DAY = 24 * 3600


def _claim(folder, age: float = 0.0, **changes) -> None:
    """Claim a folder as another process, whose clock is `age` seconds behind."""
    now = {"host": socket.gethostname(), "pid": os.getppid(), "alive": time.time() - age}
    write_json(f"{folder}/{OWNER}", {**now, **changes})


@pytest.fixture
def folder(tmp_path) -> str:
    return str(tmp_path / "corpus")


def test_the_owner_says_who_it_is_and_leaves_nothing(folder):
    with lease(folder):
        told = read_json(f"{folder}/{OWNER}")
        assert (told["host"], told["pid"]) == (socket.gethostname(), os.getpid())
        assert abs(told["alive"] - time.time()) < 5
    assert read_json(f"{folder}/{OWNER}") is None


@pytest.fixture
def looks(folder, monkeypatch):
    """Lets another owner claim the folder anew before each look at it."""
    claims, read = [], owner.read_record
    monkeypatch.setattr(owner, "_LOOK", 0.0)

    def read_record(uri, kind):
        if claims:
            _claim(folder, **claims.pop(0))
        return read(uri, kind)

    monkeypatch.setattr(owner, "read_record", read_record)
    return claims


@pytest.mark.parametrize("age", [0.0, 120.0, DAY, -DAY])
def test_another_living_job_is_named_whatever_its_clock_says(folder, looks, age):
    looks += [{"host": "elsewhere", "age": age}, {"host": "elsewhere", "age": age - owner.BEAT}]
    told = r"process \d+ on elsewhere is alive.*stop it, or choose another run"
    with pytest.raises(ValueError, match=told), lease(folder):
        pass
    assert read_json(f"{folder}/{OWNER}") is not None


def test_another_living_job_on_this_machine_is_named_at_once(folder):
    _claim(folder, age=DAY)
    with pytest.raises(ValueError, match=r"process \d+ on .* is alive"), lease(folder):
        pass


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"host": "x"}'])
def test_a_damaged_claim_binds_nobody(folder, content):
    write_bytes(f"{folder}/{OWNER}", content)
    with lease(folder):
        assert read_json(f"{folder}/{OWNER}")["pid"] == os.getpid()


def test_a_job_that_was_killed_here_is_followed_at_once(folder):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    for pid in (done.pid, os.getpid()):  # a container's first process always has the same number
        _claim(folder, pid=pid)
        with lease(folder):
            assert read_json(f"{folder}/{OWNER}")["pid"] == os.getpid()


@pytest.mark.parametrize("age", [0.0, -DAY])
def test_a_job_elsewhere_that_stays_silent_is_followed(folder, monkeypatch, age):
    monkeypatch.setattr(owner, "STALE", 0.01)
    monkeypatch.setattr(owner, "_LOOK", 0.0)
    _claim(folder, host="elsewhere", age=age)
    with lease(folder):
        assert read_json(f"{folder}/{OWNER}")["host"] == socket.gethostname()


def test_a_process_of_the_same_job_is_followed_at_once(folder, tmp_path):
    _claim(folder, host="elsewhere", job=str(tmp_path))
    with on_behalf_of(str(tmp_path)), lease(folder):
        told = read_json(f"{folder}/{OWNER}")
        assert (told["host"], told["job"]) == (socket.gethostname(), str(tmp_path))


@pytest.mark.parametrize("job", [None, "another"])
def test_a_process_of_another_job_is_not(folder, tmp_path, job):
    _claim(folder, job=job)
    with (
        pytest.raises(ValueError, match="another job works at"),
        on_behalf_of(str(tmp_path)),
        lease(folder),
    ):
        pass
    with pytest.raises(ValueError, match="another job works at"), lease(folder):
        pass


def test_signs_of_life_go_on_and_survive_a_fault_of_the_storage(folder, monkeypatch):
    signs, write = [], owner.write_json

    def write_json(uri, content):
        signs.append(content["alive"])
        if len(signs) == 2:
            raise OSError("no answer")
        write(uri, content)

    monkeypatch.setattr(owner, "write_json", write_json)
    monkeypatch.setattr(owner, "BEAT", 0.01)
    with lease(folder):
        end = time.monotonic() + 30
        while len(signs) < 4 and time.monotonic() < end:
            time.sleep(0.01)
    assert len(signs) >= 4
    assert signs == sorted(signs)
    assert read_json(f"{folder}/{OWNER}") is None


def test_an_error_in_the_work_gives_it_up_too(folder):
    with pytest.raises(KeyboardInterrupt), lease(folder):
        raise KeyboardInterrupt
    assert read_json(f"{folder}/{OWNER}") is None


def test_a_job_elsewhere_that_has_been_silent_for_long_is_followed_at_once(folder, monkeypatch):
    """By the clock of the storage, whatever that of the owner says."""
    _claim(folder, host="elsewhere", age=-DAY)
    long_ago = time.time() - owner.STALE - 1
    os.utime(f"{folder}/{OWNER}", (long_ago, long_ago))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    with lease(folder):
        assert read_json(f"{folder}/{OWNER}")["host"] == socket.gethostname()
    assert os.listdir(folder) == []


@pytest.mark.parametrize("age", [0.0, 60.0])
def test_only_the_rest_of_the_time_is_waited(folder, monkeypatch, caplog, age):
    _claim(folder, host="elsewhere")
    before = time.time() - age
    os.utime(f"{folder}/{OWNER}", (before, before))
    clock = iter([0.0, owner.STALE - age - 1, owner.STALE - age + 1])
    monkeypatch.setattr(owner.time, "monotonic", lambda: next(clock, 1e9))
    monkeypatch.setattr(owner.time, "sleep", lambda _: None)
    assert owner._lives(f"{folder}/{OWNER}", owner._read(f"{folder}/{OWNER}")) is False
    assert f"waiting up to {owner.STALE - age:.0f} s" in caplog.text
