"""The death of Ray's own processes: one message says what died, at once, and the job ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import ray.exceptions

from qaclims_ray.cli import RAY_DEATHS, explain
from qaclims_ray.cluster import deaths, session
from qaclims_ray.config.compute import Compute
from tests.build import free_port

JOB = """
import sys, time
from pathlib import Path
from qaclims_ray.cli import run_job

what, folder = sys.argv[1:]

def wait(config=None):
    Path(folder, "begun").touch()
    time.sleep(600)

def main():
    import ray.train
    from qaclims_ray.cluster.session import start
    from qaclims_ray.cluster.training import Trainer
    from qaclims_ray.config.compute import Compute

    start(Compute(num_cpus=3, object_store_megabytes=100))
    if what == "training":
        trainer = ray.train.torch.TorchTrainer(
            wait,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(storage_path=folder),
        )
        fit(trainer)
    ray.get(ray.remote(max_retries=0)(wait).remote())

run_job(main)
"""
"""It imports Ray where jobs do: once they know what to do."""


def _ended(code: str) -> subprocess.Popen:
    """A process that has ended, and whose end nobody has asked for yet."""
    process = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


def _named(name: str, process: subprocess.Popen) -> deaths._Process:
    return deaths._Process(name, process.pid)


def test_a_process_that_died_is_named_and_the_others_are_ended():
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert deaths._dead([_named("raylet", other)]) is None
    killed = _ended("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    told = deaths._dead([_named("raylet", other), _named("gcs_server", killed)])
    assert told == (
        f"Ray's head process (gcs_server, {killed.pid}) died, killed by signal 9 (9 may be for "
        "lack of memory). Work is kept: the same command goes on."
    )
    assert other.wait() == -signal.SIGKILL
    assert killed.wait() == -signal.SIGKILL  # its end was left to who started it
    assert "died, how is not known." in deaths._dead([_named("raylet", killed)])
    failed = _ended("import sys; sys.exit(3)")
    assert "died, status 3." in deaths._dead([_named("raylet", failed)])


def test_the_ray_of_this_session_is_watched(local_ray):
    watch = deaths.watch_ray()
    assert sorted(one.name for one in watch._processes) == ["gcs_server", "raylet"]
    assert watch() is None


def test_a_head_elsewhere_counts_as_dead_after_it_is_silent_for_long(local_ray):
    def later(head: deaths._Head) -> str | None:
        head._asked -= 31
        head._answered -= 31
        return head()

    with socket.create_server(("127.0.0.1", 0)) as there:
        assert later(deaths._Head(f"127.0.0.1:{there.getsockname()[1]}")) is None
    gone = deaths._Head(f"127.0.0.1:{free_port()}")
    assert gone() is None
    assert re.search(r"head of the Ray cluster \(127\.0\.0\.1:\d+\) has not answered", later(gone))


@pytest.mark.parametrize("name", RAY_DEATHS)
def test_each_death_is_an_error_of_rays_and_is_said_in_one_line(name):
    kind = getattr(ray.exceptions, name)
    error = kind.__new__(kind)
    told = explain(error)
    assert told.endswith("Work is kept: the same command goes on.")
    assert len(told.splitlines()) == 1


def test_a_start_that_times_out_is_tried_once_more(monkeypatch, caplog):
    tries = []

    def start(*_):
        tries.append(1)
        if len(tries) == 1:
            raise Exception("The current node timed out during startup.\nThis could happen …")

    monkeypatch.setattr(session, "_init", start)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    session._init_patiently(Compute())
    assert len(tries) == 2
    assert "trying once more" in caplog.text
    monkeypatch.setattr(session, "_init", lambda *_: (_ for _ in ()).throw(TimeoutError("of Ray")))
    with pytest.raises(ValueError, match=r"did not start in time, twice: of Ray\. .*goes on"):
        session._init_patiently(Compute())
    monkeypatch.setattr(session, "_init", lambda *_: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        session._init_patiently(Compute())


def _killed(session_folder: str, what: str) -> None:
    """Kill a process of the Ray whose files lie in a folder."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/environ", "rb") as environ:
                is_own = f"RAY_TMPDIR={session_folder}".encode() in environ.read()
            with open(f"/proc/{process}/cmdline", "rb") as command:
                is_it = what.encode() in command.read()
        except OSError:
            continue  # it has ended, or is somebody else's
        if is_own and is_it:
            os.kill(int(process), signal.SIGKILL)
            return
    raise AssertionError(f"no {what}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "process", "told"),
    [
        ("work", "gcs_server", r"Ray's head process \(gcs_server, \d+\) died, killed by signal 9"),
        ("work", "raylet/raylet", r"Ray's process of this node \(raylet, \d+\) died, killed by"),
        ("training", "gcs_server", r"Ray's head process \(gcs_server, \d+\) died"),
        ("training", "ray::TrainController", "a process of the job died, killed or for lack of"),
        ("work", "ray::wait", "a process of the job died, killed or for lack of memory"),
    ],
)
def test_the_death_of_rays_own_process_ends_a_job_with_one_message(tmp_path, what, process, told):
    folder = f"/tmp/r{os.getpid()}"  # short: paths of sockets are limited
    os.makedirs(folder, exist_ok=True)
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, what, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_TMPDIR": folder},
    )
    while not (tmp_path / "begun").exists():
        assert job.poll() is None
        time.sleep(0.1)
    _killed(folder, process)
    results, said = job.communicate(timeout=50)
    assert job.returncode == 1
    assert results.strip() == ""  # Ray's own words about it
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert re.search(told, errors[0]), errors
    assert errors[0].endswith("the same command goes on.")
