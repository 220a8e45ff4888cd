"""Runs on S3: a real server process, with and without faults, and Ray of the job's own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from qaclims_ray.artifacts import artifact
from qaclims_ray.storage import filesystem

ROOT = Path(__file__).parents[1]
SECRET = "marked-secret-4711"

SMALL = [
    "data.num_images=8",
    "data.shard_megabytes=0.01",
    "compute.num_cpus=4",
    "compute.object_store_megabytes=200",
    "compute.corpus={block_rows: 2, batch_size: 2}",
    "compute.ingest={num_actors: 1, block_rows: 4}",
]


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(port: int) -> bool:
    with closing(socket.socket()) as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def s3(monkeypatch, tmp_path) -> Iterator[Callable[[int], dict[str, str]]]:
    """Starts a server with a bucket; gives the environment that leads to it."""
    servers = []

    def start(every: int) -> dict[str, str]:
        port = _free_port()
        script = str(ROOT / "tests" / "s3_server.py")
        with (tmp_path / "server.log").open("wb") as log:
            servers.append(
                subprocess.Popen([sys.executable, script, str(port), str(every)], stderr=log)
            )
        end = time.monotonic() + 60
        while not _answers(port):
            assert time.monotonic() < end
            assert servers[-1].poll() is None
            time.sleep(0.05)
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        fsspec.config.conf.clear()
        filesystem("s3://bucket")[0].clear_instance_cache()
        fs, _ = filesystem("s3://bucket")
        fs.mkdir("bucket")
        return environment

    yield start
    for server in servers:
        server.kill()
        server.wait()


def _job(job: str, run: str, *overrides: str) -> str:
    """What a job prints; it must succeed, and say nothing of the secret."""
    command = [sys.executable, f"jobs/{job}.py", "--config", "configs/demo.yaml", f"run={run}"]
    done = subprocess.run(
        [*command, *SMALL, *overrides], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout


def _rows(uri: str) -> list:
    fs, path = filesystem(uri)
    shards = sorted(fs.glob(f"{path}/part-*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard, filesystem=fs).to_pylist()]


def test_images_and_corpus_on_a_faulty_store_are_those_on_disk(s3, demo_run):
    s3(every=20)
    for job in ("ingest", "build_corpus"):
        assert "8 rows, 0 errors" in _job(job, "s3://bucket/run")
    for name in ("images", "corpus"):
        assert _rows(f"s3://bucket/run/{name}") == _rows(artifact(demo_run, name).uri)
    fs, _ = filesystem("s3://bucket")
    assert not fs.glob("bucket/run/*/_work/**")
    for path in fs.find("bucket/run"):
        assert SECRET.encode() not in fs.cat_file(path)
