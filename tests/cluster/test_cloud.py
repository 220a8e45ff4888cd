"""Runs on S3: a real server process, with and without faults, and Ray of the job's own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.storage import filesystem as patience
from qaclims_ray.storage.files import filesystem, read_json, write_json

ROOT = Path(__file__).parents[2]
SECRET = "marked-secret-4711"

SMALL = [
    "data.num_images=8",
    "data.shard_megabytes=0.01",
    "compute.num_cpus=4",
    "compute.object_store_megabytes=200",
    "compute.corpus={block_rows: 2, batch_size: 2}",
    "compute.ingest={num_actors: 1, block_rows: 4}",
]
WHOLE = [
    *SMALL[1:],
    "train.classifier.epochs=1",
    "train.ritc.epochs=2",
    "train.irn.epochs=1",
    "train.segmenter.epochs=1",
    "refine.masks={kind: irn, background: 0.2}",
    "new_images.num_images=4",
    "cams.scales=[1.0]",
    "compute.train.num_workers=1",
    "compute.cams.num_actors=1",
]
"""What makes the demo, on images of one's own, take a minute."""


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
        script = str(ROOT / "tests" / "cluster" / "s3_server.py")
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
        filesystem("s3://bucket")[0].clear_instance_cache()
        fs, _ = filesystem("s3://bucket")
        fs.mkdir("bucket")
        return environment

    yield start
    for server in servers:
        server.kill()
        server.wait()


def test_what_time_does_not_mend_stops_with_path_and_cause(s3, monkeypatch):
    s3(every=0)
    with pytest.raises(ValueError, match=r"s3://nosuch/run/a\.json: .*bucket does not exist"):
        write_json("s3://nosuch/run/a.json", {})
    assert read_json("s3://bucket/run/a.json") is None
    monkeypatch.setattr(patience, "_PAUSES", (0.01,))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_free_port()}")
    filesystem("s3://bucket")[0].clear_instance_cache()
    with pytest.raises(ValueError, match=r"s3://bucket/run/a\.json: .*onnect"):
        read_json("s3://bucket/run/a.json")


def _refuse_all() -> None:
    """From now on the server knows no one."""
    endpoint = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    urlopen(Request(endpoint, b"0", {"Content-Type": "text/plain"})).close()


def test_refused_credentials_are_an_error_with_the_path_and_without_the_secret(s3):
    s3(every=0)
    _refuse_all()
    for call in (lambda uri: write_json(uri, {}), read_json):
        with pytest.raises(ValueError, match=r"s3://bucket/run/a\.json: Permission") as caught:
            call("s3://bucket/run/a.json")
        assert SECRET not in f"{caught.value!r} {caught.getrepr()}"


def _run_job(run: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A job as a user starts it; it must say nothing of the secret."""
    command = [sys.executable, "jobs/run_all.py", "--config", "configs/demo.yaml", f"run={run}"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    return done


def _job(run: str, *arguments: str) -> str:
    """What a job prints that succeeds."""
    done = _run_job(run, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rows(uri: str) -> list:
    fs, path = filesystem(uri)
    shards = sorted(fs.glob(f"{path}/part-*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard, filesystem=fs).to_pylist()]


@pytest.mark.slow
@pytest.mark.timeout(600)  # the demo run of the session is made first, if no test before did
def test_images_and_corpus_on_a_faulty_store_are_those_on_disk(s3, demo_run):
    s3(every=20)
    assert _job("s3://bucket/run", "--until", "corpus", *SMALL).count("8 rows, 0 errors") == 2
    for name in ("images", "corpus"):
        assert _rows(f"s3://bucket/run/{name}") == _rows(artifact(demo_run, name).uri)
    _check_bucket()


def _check_bucket() -> None:
    """Nothing unfinished in the bucket, and no secret in any object."""
    fs, _ = filesystem("s3://bucket")
    assert not fs.glob("bucket/run/*/_work/**")
    for path in fs.find("bucket"):
        assert SECRET.encode() not in fs.cat_file(path), path


@pytest.fixture
def sessions(monkeypatch) -> Iterator[Path]:
    """Where the jobs' Rays keep their logs; a short path, as those of sockets are limited."""
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def _own_images(folder: Path) -> Path:
    """Twelve images with labels and masks, as those of a user."""
    world = folder / "world"
    write_voc(world, split="train", num_images=12, seed=0, biased=True)
    (folder / "mine").mkdir()
    shutil.move(world / "JPEGImages", folder / "mine" / "images")
    shutil.move(world / "SegmentationClass", folder / "mine" / "masks")
    lines = ["image,labels"]
    for path in sorted((world / "Annotations").iterdir()):
        names = {node.text for node in ElementTree.parse(path).iterfind("object/name")}
        lines.append(f"{path.stem}.jpg,{';'.join(sorted(names))}")
    (folder / "mine" / "labels.csv").write_text("\n".join(lines))
    (folder / "mine" / "classes.txt").write_text("\n".join(CLASSES))
    return folder / "mine"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_images_and_run_on_s3_give_the_scores_of_those_on_disk(s3, sessions, tmp_path):
    s3(every=0)
    mine = _own_images(tmp_path)
    fs, _ = filesystem("s3://bucket")
    fs.put(f"{mine}/", "bucket/mine/", recursive=True)
    scores = []
    for root, run in ((mine, tmp_path / "run"), ("s3://bucket/mine", "s3://bucket/run")):
        shown = _job(str(run), f"data={{kind: folder, root: '{root}'}}", *WHOLE)
        assert shown.splitlines()[-1].endswith(f"{run}/report.html")
        made = [name for name in ARTIFACTS if name not in ("cam_texts", "clip_cams")]
        found = {name: read_json(f"{run}/{name}/_COMPLETE.json") for name in made}
        assert all(manifest["errors"] == 0 for manifest in found.values())
        names = [name for name in made if name.endswith("scores")]
        scores.append([read_json(f"{run}/{name}/scores.json") for name in names])
    assert scores[0] == scores[1]
    assert len({json.dumps(each) for each in scores[0]}) == len(scores[0])
    log = (tmp_path / "server.log").read_text()
    assert all(f"/{net}/_work/" in log for net in ("cam_net", "irn", "segmenter"))  # checkpoints

    _check_bucket()
    logs = [path for path in sessions.rglob("*") if path.is_file()]
    assert len(logs) > 50
    assert not [path for path in logs if SECRET.encode() in path.read_bytes()]

    _refuse_all()
    done = _run_job("s3://bucket/denied", *WHOLE)
    assert done.returncode == 1
    assert "s3://bucket/denied" in done.stderr
    assert "Traceback" not in done.stderr
