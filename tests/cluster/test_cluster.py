"""Several nodes for real: processes of Ray on this machine, with GPUs that are only counted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow.parquet as pq
import pytest

from qaclims_ray.config.experiment import load
from qaclims_ray.run.artifact import own_artifact

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}
SMALL = {
    "data.num_images": 24,
    "data.shard_megabytes": 0.05,
    "train.classifier.epochs": 1,
    "train.ritc.epochs": 1,
    "train.irn.epochs": 1,
    "train.segmenter.epochs": 1,
    "refine.masks": {"kind": "irn", "background": 0.2},
    "new_images.num_images": 12,
    "cams.scales": [1.0],
    "evaluate.thresholds": [0.1, 0.3, 0.5],
    # Each actor or worker takes more than half a node: two of a stage are on two nodes.
    "compute.ingest": {"num_actors": 3, "num_cpus": 1.6, "block_rows": 2, "batch_size": 2},
    "compute.corpus": {"num_actors": 4, "num_gpus": 0.5, "num_cpus": 0.5, "batch_size": 2},
    "compute.corpus.block_rows": 2,
    "compute.texts": {"num_actors": 1, "num_gpus": 0.25},
    "compute.train": {"num_workers": 2, "num_cpus": 1.6, "checkpoint_every": 1},
    "compute.cams": {"num_actors": 2, "num_gpus": 1, "num_cpus": 1, "block_rows": 2},
    "compute.refine": {"num_actors": 3, "num_cpus": 1.6, "block_rows": 2, "batch_size": 2},
    "compute.segment": {"num_actors": 2, "num_gpus": 1, "num_cpus": 1, "block_rows": 2},
    "compute.evaluate": {"num_actors": 3, "num_cpus": 1.6, "block_rows": 2, "batch_size": 2},
}
NODES = ("3,0", "3,1", "3,1")


class Cluster:
    """Talks to `tests/cluster/cluster_nodes.py`."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.address = self.ask("address")

    def ask(self, *command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def nodes_of(self, name: str) -> set[str]:
        """Nodes that ever had an actor of a class."""
        return {node for kind, called, node in self.ask("actors") if name in f"{kind} {called}"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # A short path: those of sockets are limited to 107 characters.
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "cluster" / "cluster_nodes.py"), folder, *NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        try:
            yield Cluster(process)
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            finally:
                _kill_group(process)


def _kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Job(NamedTuple):
    """A job under way."""

    process: subprocess.Popen
    out: IO[str]
    errors: IO[str]

    def said(self, file: IO[str]) -> str:
        file.seek(0)
        return file.read()


def _start(run: Path | str, *more: str, job: str = "run_all") -> Job:
    overrides = [f"{key}={json.dumps(value)}" for key, value in SMALL.items()]
    config = str(ROOT / "configs" / "demo.yaml")
    command = [sys.executable, f"jobs/{job}.py", "--config", config, f"run={run}"]
    environment = {**os.environ, **ENVIRONMENT}
    environment.pop("RAY_ADDRESS", None)
    # Files, as pipes fill up: Ray reports each lost node at length.
    out, errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115
    process = subprocess.Popen(
        [*command, *overrides, *more], cwd=ROOT, stdout=out, stderr=errors, env=environment
    )
    return Job(process, out, errors)


def _finish(job: Job) -> str:
    assert job.process.wait(timeout=900) == 0, job.said(job.errors)[-5000:]
    return job.said(job.out)


def _alone(run: Path) -> None:
    """The same on one node, without any GPU."""
    free = [f"compute.{pool}.num_gpus=0" for pool in ("corpus", "texts", "cams", "segment")]
    _finish(_start(run, *free, "compute.num_cpus=9", "compute.object_store_megabytes=200"))


def _tables(run: Path, name: str) -> list[bytes]:
    parts = sorted((run / name).glob("part-*.parquet"))
    assert parts
    return [part.read_bytes() for part in parts]


def _scores(run: Path) -> dict:
    return json.loads((run / "scores" / "scores.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_on_three_nodes_is_that_on_one(cluster, tmp_path):
    lines = _finish(_start(tmp_path / "three", f"compute.address={cluster.address}")).splitlines()
    assert lines[-1].endswith("report.html")
    actors = ("Loader", "Answerer", "Embedder", "CamMaker", "Labeller", "Segmenting", "Scorer")
    spread = {name: len(cluster.nodes_of(name)) for name in (*actors, "RayTrainWorker")}
    # Answers, CAMs and predictions come from the two nodes with a GPU. Each stage took all of both,
    # so the stage before had given them back. The trainings may have had different nodes.
    assert spread.pop("RayTrainWorker") >= 2
    assert spread == dict(zip(actors, (3, 2, 1, 2, 3, 2, 3), strict=True))
    _alone(tmp_path / "one")
    tables = ("images", "corpus", "pairs", "texts", "baseline_cams", "cams", "seeds", "masks")
    for name in (*tables, "predictions", "new_images", "new_predictions"):
        assert _tables(tmp_path / "three", name) == _tables(tmp_path / "one", name), name
    assert _scores(tmp_path / "three") == _scores(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_one_node_cannot_see_is_an_error_before_anything_starts(cluster, tmp_path):
    """A fourth node has another file system below the run's folder."""
    hidden = tmp_path / "mine"
    hidden.mkdir()
    ray = shutil.which("ray", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    script = (
        f"mount -t tmpfs none {hidden} && "
        f"exec {ray} start --address={cluster.address} --num-cpus=1 --block"
    )
    node = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        time.sleep(20)
        if node.poll() is not None:
            pytest.skip("this machine allows no mount namespaces")
        done = _start(hidden / "run", f"compute.address={cluster.address}", job="ingest")
        assert done.process.wait(timeout=300) == 1
        errors = done.said(done.errors)
        assert f"run: {hidden}/run is not there on " in errors
        assert "(1 of 4 nodes): give run= a folder that all nodes share, or a URL" in errors
        assert "Traceback" not in errors
        _finish(_start(tmp_path / "run", f"compute.address={cluster.address}", job="ingest"))
    finally:
        _kill_group(node)


def _wait_for(seen: Callable[[], bool], job: Job) -> None:
    while not seen():
        assert job.process.poll() is None, job.said(job.errors)[-5000:]
        time.sleep(0.05)


def _blocks(run: Path, name: str) -> int:
    return len(list((run / name / "_work").glob("*/rows/*.parquet")))


def _steps(run: Path, name: str) -> int:
    found = list((run / name / "_work").glob("*/progress.json"))
    return json.loads(found[0].read_text())["step"] if found else 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_node_may_die_in_every_stage(cluster, tmp_path):
    """In each a node with a GPU is lost, and replaced by a new one."""
    run = tmp_path / "run"
    job = _start(run, f"compute.address={cluster.address}")
    lost = 1
    for name, progress in {
        "images": _blocks,
        "corpus": _blocks,
        "classifier": _steps,
        "cam_net": _steps,
        "baseline_cams": _blocks,
        "cams": _blocks,
        "scores": _blocks,
        "seeds": _blocks,
        "irn": _steps,
        "masks": _blocks,
        "segmenter": _steps,
        "predictions": _blocks,
        "new_predictions": _blocks,
    }.items():
        _wait_for(lambda name=name, progress=progress: progress(run, name) > 0, job)
        assert not (run / name / "_COMPLETE.json").exists()
        cluster.ask("kill", lost)
        lost = cluster.ask("add", 3, 1)
    _finish(job)
    _alone(tmp_path / "one")
    for name in ("images", "corpus", "pairs", "texts"):
        assert _tables(run, name) == _tables(tmp_path / "one", name), name
    for name in ("baseline_cams", "cams", "seeds", "masks", "predictions"):
        rows = sum(pq.read_metadata(part).num_rows for part in (run / name).glob("part-*"))
        assert rows == SMALL["data.num_images"]
    experiment = load(ROOT / "configs" / "demo.yaml", {**SMALL, "run": str(run)})
    for name in ("classifier", "cam_net", "cams", "scores", "irn", "masks", "segmenter"):
        manifest = own_artifact(experiment, name).require()
        assert (manifest["errors"], manifest["facts"].get("steps", 1) > 0) == (0, True)
    assert _scores(run)["best"]["miou"] == pytest.approx(
        _scores(tmp_path / "one")["best"]["miou"], abs=0.01
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_elastic_training_grows_and_shrinks_with_the_cluster(cluster, tmp_path):
    """Ray Train looks once a minute whether there is room for more workers."""
    run = tmp_path / "run"
    _finish(_start(run, f"compute.address={cluster.address}", job="ingest"))
    cluster.ask("kill", 1)
    cluster.ask("kill", 2)
    recipe = ["train.classifier.epochs=100", "train.classifier.batch_size_per_worker=1"]
    optimiser = "train.classifier.optimiser="
    recipe.append(optimiser + '{"kind": "sgd", "learning_rate": 0.001, "weight_decay": 0}')
    recipe.append("compute.train.checkpoint_every=null")
    elastic = [f"compute.address={cluster.address}", "compute.train.min_workers=1"]
    job = _start(run, *recipe, *elastic, job="train_classifier")
    _wait_for(lambda: _steps(run, "classifier") > 0, job)
    assert len(cluster.nodes_of("RayTrainWorker")) == 1
    second = cluster.ask("add", 3, 0)
    _wait_for(lambda: len(cluster.nodes_of("RayTrainWorker")) == 2, job)
    reached = _steps(run, "classifier")
    _wait_for(lambda: _steps(run, "classifier") > reached + 24, job)
    cluster.ask("kill", second)
    _finish(job)
    other = tmp_path / "other"
    other.mkdir()
    (other / "images").symlink_to(run / "images")
    alone = ["compute.num_cpus=5", "compute.object_store_megabytes=200"]
    _finish(_start(other, *recipe, *alone, job="train_classifier"))
    curve, expected = _curve(run), _curve(other)
    assert [row["step"] for row in curve] == list(range(1200))
    # Of all workers together, as the losses in the log are those of the first.
    assert [row["grad_norm"] for row in curve] == pytest.approx(
        [row["grad_norm"] for row in expected], rel=1e-3
    )


def _curve(run: Path) -> list[dict]:
    files = sorted((run / "classifier" / "metrics").glob("epoch-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
