"""SIGKILL of the driver, or of a node, in the middle of a search, which goes on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from qaclims_ray.config.experiment import dump
from qaclims_ray.search.rows import read_trials

ROOT = Path(__file__).parents[2]
NUM_EPOCHS = 6


@pytest.fixture
def search(upon_demo, tmp_path):
    own = {
        "tune.space": {"train.ritc.loss.area": {"log_uniform": [0.01, 10]}},
        "tune.num_trials": 4,
        "tune.num_finalists": 1,
        "tune.seeds": [0],
        "train.ritc.epochs": NUM_EPOCHS,
        "compute.tune.max_concurrent": 1,
        "compute.num_cpus": 4,
    }
    return upon_demo(tmp_path / "run", own)


@pytest.fixture
def job(search, tmp_path):
    """Starts the job in a process of its own."""
    (tmp_path / "search.yaml").write_text(dump(search))
    command = [sys.executable, "jobs/tune.py", "--config", str(tmp_path / "search.yaml")]
    return lambda: subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _identities(folder):
    markers = folder.glob("trial_*/cam_net/_COMPLETE.json")
    return {path.parts[-3]: json.loads(path.read_text())["identity"] for path in markers}


def _epochs(folder):
    """When each epoch of each trial was logged, for trials under way or complete."""
    logs = folder.glob("trial_*/cam_net/metrics/epoch-*.jsonl")
    return {(path.parts[-4], path.name): path.stat().st_mtime_ns for path in logs}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_search_keeps_what_ended_and_goes_on_from_checkpoints(job, search):
    folder = Path(search.run, "search", "trials")
    process = job()
    while not (_identities(folder) and len(_epochs(folder)) >= NUM_EPOCHS + 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the cluster ends the driver's actors
    kept, epochs = _identities(folder), _epochs(folder)
    assert 0 < len(kept) < 4
    (halfway,) = {name for name, _ in epochs} - set(kept)

    assert job().wait() == 0
    assert {name: one for name, one in _identities(folder).items() if name in kept} == kept
    again = _epochs(folder)
    same = [key for key, when in epochs.items() if key[0] == halfway and again[key] == when]
    assert (halfway, "epoch-000.jsonl") in same, "it began anew"
    rows = read_trials(f"{search.run}/search", search.tune.space)
    assert [row["status"] for row in rows] == ["complete"] * 4
    assert all(len(row["scores"]) == NUM_EPOCHS for row in rows)


@pytest.fixture
def cluster():
    """Two nodes of 2 CPUs, each with room for one trial."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trials_of_a_node_that_dies_go_on_from_checkpoints_elsewhere(cluster, search, tmp_path):
    node = cluster.add_node(num_cpus=2)
    own = {
        "tune.num_trials": 2,
        "compute.address": cluster.address,
        "compute.tune.max_concurrent": 2,
        "compute.tune.num_cpus": 2,
    }
    (tmp_path / "search.yaml").write_text(dump(search.with_overrides(own)))
    command = [sys.executable, "jobs/tune.py", "--config", str(tmp_path / "search.yaml")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    folder = Path(search.run, "search", "trials")
    third = [("trial_00000", "epoch-002.jsonl"), ("trial_00001", "epoch-002.jsonl")]
    while not _epochs(folder).keys() >= set(third):
        assert process.poll() is None
        time.sleep(0.02)
    epochs = _epochs(folder)
    assert len(_identities(folder)) < 2
    cluster.remove_node(node, allow_graceful=False)

    assert process.wait() == 0
    again = _epochs(folder)
    for trial in ("trial_00000", "trial_00001"):
        begun = (trial, "epoch-000.jsonl")
        assert again[begun] == epochs[begun], "it began anew"
    rows = read_trials(f"{search.run}/search", search.tune.space)
    assert [row["status"] for row in rows] == ["complete"] * 2
    assert all(len(row["scores"]) == NUM_EPOCHS for row in rows)
