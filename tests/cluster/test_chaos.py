"""Kills of any process at any moment, from images to predictions of new images.

By hand: CHAOS_KILLS=20 CHAOS_SEED=1 pytest -m slow -s tests/cluster/test_chaos.py
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS, is_needed

ROOT = Path(__file__).parents[2]
MARK = "QACLIMS_CHAOS"
KINDS = {
    "driver": "jobs/run_all.py",
    "worker": "ray::RayTrainWorker",
    "actor": "ray::MapWorker",
    "controller": "ray::TrainController",
    "node": "raylet/raylet",
    "head": "gcs_server",
}
"""What is killed, by a part of its command line; where there is none just then, nothing is."""
OWN = {
    "data.num_images": 24,
    "new_images.num_images": 8,
    "compute.train": {"num_workers": 1, "checkpoint_every": 1},
    "compute.num_cpus": 4,
    "compute.object_store_megabytes": 150,
    **{
        f"compute.{pool}": {"num_actors": 1, "block_rows": 4, "batch_size": 2}
        for pool in ("ingest", "corpus", "cams", "refine", "segment", "evaluate")
    },
}


def _processes(mark: str) -> Iterator[tuple[int, str]]:
    """Number and command of every process that a job has started, its own among them."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended, or is somebody else's
        if f"{MARK}={mark}".encode() in environment:
            yield int(folder.name), command


def _kill(mark: str, kind: str) -> bool:
    found = [process for process, command in _processes(mark) if KINDS[kind] in command]
    for process in found[:1]:
        os.kill(process, signal.SIGKILL)
    return bool(found)


def _start(experiment: Experiment, overrides: list[str], log: Path, mark: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", MARK: mark}
    environment.pop("RAY_ADDRESS", None)
    config = str(ROOT / "configs" / "demo.yaml")
    command = [sys.executable, KINDS["driver"], "--config", config, f"run={experiment.run}"]
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, *overrides], cwd=ROOT, env=environment, stdout=file, stderr=file
        )


def _tables(experiment: Experiment) -> dict[str, list[dict]]:
    """The rows of all tables, without the seconds of anything."""
    found: dict[str, list[dict]] = {}
    for name, spec in ARTIFACTS.items():
        if is_needed(experiment, name) and spec.kind != "network":
            own = artifact(experiment, name)
            assert own.require()["errors"] == 0, name
            found[name] = [row for part in own.shards() for row in pq.read_table(part).to_pylist()]
    return found


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_at_any_moment_change_nothing(make_experiment, small, tmp_path):
    """Runs are made, killed now and then, until there were enough kills; the last one ends."""
    chance = random.Random(int(os.environ.get("CHAOS_SEED", "0")))
    num_kills = int(os.environ.get("CHAOS_KILLS", "5"))
    values = {**small, **OWN}
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    undisturbed = make_experiment(tmp_path / "undisturbed", OWN)
    log = tmp_path / "log"
    begun = time.monotonic()
    assert _start(undisturbed, overrides, log, "none").wait() == 0, log.read_text()[-3000:]
    seconds = time.monotonic() - begun
    expected, killed, number = _tables(undisturbed), list[str](), 0
    while len(killed) < num_kills:
        disturbed = make_experiment(tmp_path / f"disturbed{number}", OWN)
        for kind in _disturb(disturbed, overrides, log, chance, seconds, num_kills - len(killed)):
            killed.append(kind)
            print(f"{len(killed)}: {kind}, run {number}, {time.monotonic() - begun:.0f} s")
        assert _tables(disturbed) == expected
        number += 1
    print(f"{number} runs: {time.monotonic() - begun:.0f} s, undisturbed {seconds:.0f} s")


def _disturb(
    experiment: Experiment,
    overrides: list[str],
    log: Path,
    chance: random.Random,
    seconds: float,
    most: int,
) -> Iterator[str]:
    """Make a run, again and again until it ends well; yield what was killed meanwhile."""
    mark = f"seed-{experiment.run}"
    while True:
        job, before = _start(experiment, overrides, log, mark), most
        while job.poll() is None and most:
            _wait(job, chance.uniform(0.05, 0.3) * seconds)
            kind = chance.choice(sorted(KINDS))
            if job.poll() is None and _kill(mark, kind):
                most -= 1
                yield kind
        if job.wait() == 0:
            return
        assert most < before, log.read_text()[-3000:]  # it fails by itself
        for process, _ in list(_processes(mark)):
            os.kill(process, signal.SIGKILL)  # what a killed driver leaves, which ends later


def _wait(job: subprocess.Popen, seconds: float) -> None:
    try:
        job.wait(seconds)
    except subprocess.TimeoutExpired:
        return
