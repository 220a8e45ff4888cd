import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from qaclims_ray.artifacts import Artifact, artifact, class_names
from qaclims_ray.attempts import Attempt
from qaclims_ray.data import readers, stage
from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.sections import Pool
from qaclims_ray.tables import publish, read_table


@pytest.fixture
def damaged(monkeypatch):
    """Of the images that the demo draws, one is cut short and one is empty."""

    def write_damaged(root, **arguments):
        write_voc(root, **arguments)
        torn, empty = root / "JPEGImages/train_000002.jpg", root / "JPEGImages/train_000005.jpg"
        torn.write_bytes(torn.read_bytes()[:500])
        empty.write_bytes(b"")

    monkeypatch.setattr(readers, "write_voc", write_damaged)


@pytest.fixture
def no_ray_data(monkeypatch):
    """Fails where Ray Data would start."""

    def fail(*_, **__):
        raise AssertionError("Ray Data was started")

    monkeypatch.setattr(stage, "read_rows", fail)


def test_images_arrive_unchanged_sorted_and_with_labels_and_masks(demo_run):
    images = artifact(demo_run, "images")
    rows = read_table(images).to_pylist()
    assert [row["name"] for row in rows] == [f"train_{number:06d}" for number in range(8)]
    world = Path(demo_run.run, "world")
    for row in rows:
        assert row["image"] == (world / "JPEGImages" / f"{row['name']}.jpg").read_bytes()
        assert (row["height"], row["width"]) == (96, 96)
        assert row["labels"]
        assert row["mask"] is not None
    assert class_names(images) == CLASSES
    assert len(images.shards()) > 1
    assert images.require()["facts"]["num_images"] == 8


def test_a_second_run_does_nothing(demo_run, no_ray_data):
    start = time.monotonic()
    line = stage.run(demo_run)
    assert time.monotonic() - start < 1
    assert line.startswith("images: complete already, 8 rows, 0 errors")


def test_broken_images_are_recorded_and_the_others_are_there(
    local_ray, make_experiment, tmp_path, damaged
):
    experiment = make_experiment(tmp_path)
    assert stage.run(experiment).startswith("images: 6 rows, 2 errors, ")
    images = artifact(experiment, "images")
    names = read_table(images, ["name"])["name"].to_pylist()
    assert names == [f"train_{number:06d}" for number in (0, 1, 3, 4, 6, 7)]
    errors = pq.read_table(f"{images.uri}/_errors/part-00000.parquet").to_pylist()
    assert [error["name"] for error in errors] == ["train_000002", "train_000005"]
    assert all("ValueError: " in error["reason"] for error in errors)
    assert "train_000005.jpg" in errors[1]["reason"]
    assert (images.require()["rows"], images.require()["errors"]) == (6, 2)


def test_more_broken_images_than_allowed_stop_it_and_lose_nothing(
    local_ray, make_experiment, tmp_path, damaged
):
    strict = make_experiment(tmp_path, {"data.max_errors": 0, "data.num_images": 6})
    with pytest.raises(ValueError, match=r"more than data\.max_errors = 0 rows of images failed"):
        stage.run(strict)
    assert not artifact(strict, "images").is_complete()
    lenient = strict.with_overrides({"data.max_errors": 2})
    assert stage.run(lenient).startswith("images: 4 rows, 2 errors, ")


def test_more_actors_than_images_and_a_limit(local_ray, make_experiment, tmp_path):
    pool = {"num_actors": 4, "num_cpus": 0.25, "block_rows": 1, "batch_size": 1}
    experiment = make_experiment(tmp_path, {"data.limit": 3, "compute.ingest": pool})
    assert stage.run(experiment).startswith("images: 3 rows, 0 errors, ")


def test_an_interrupted_run_whose_rows_are_all_there_computes_none(
    local_ray, make_experiment, tmp_path, monkeypatch, request
):
    experiment = make_experiment(tmp_path, {"data.num_images": 4})

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "publish_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.run(experiment)
    request.getfixturevalue("no_ray_data")
    assert stage.run(experiment).startswith("images: 4 rows, 0 errors, ")


def test_no_image_at_all_is_an_error(make_experiment, tmp_path):
    folder = {"kind": "folder", "root": str(tmp_path / "mine")}
    (tmp_path / "mine" / "images").mkdir(parents=True)
    (tmp_path / "mine" / "labels.csv").write_text("name,labels\n")
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own message
        stage.run(make_experiment(tmp_path, {"data": folder}))


NUM_ROWS, BLOCK_ROWS, BLOCKS_BEFORE_KILL = 24, 2, 3

DRIVER = dedent("""\
    import os, sys, time
    from qaclims_ray.artifacts import Artifact
    from qaclims_ray.attempts import Attempt
    from qaclims_ray.compute import start
    from qaclims_ray.data.stage import map_rows
    from qaclims_ray.sections import Compute, Pool

    source, uri, log, address = sys.argv[1:]

    class Slow:
        def __init__(self, target, log):
            self._attempt, self._log = Attempt(target, 9), log

        def __call__(self, table):
            time.sleep(0.25)
            return self._attempt(table.to_pylist(), self._compute)

        def _compute(self, rows):
            with open(self._log, "a") as file:
                file.write("".join(row["name"] + "\\n" for row in rows))
            if len(rows) == 1 and rows[0]["name"] == "13":
                raise ValueError("unlucky")
            if any(row["name"] == "13" for row in rows):
                raise ValueError("an unlucky batch")
            return [{"name": row["name"], "answers": []} for row in rows]

    start(Compute(address=address))
    pool = Pool(num_actors=1, batch_size=%d, block_rows=%d)
    target = Artifact("corpus", uri, {})
    map_rows([source], ["name"], target, Slow, {"target": target, "log": log}, pool, "compute.corpus", expected=%d)
""") % (BLOCK_ROWS, BLOCK_ROWS, NUM_ROWS)


@pytest.fixture
def driver(local_ray, tmp_path):
    """Starts the map of a table in a process of its own; gives the process, target and log."""
    script, source = tmp_path / "driver.py", tmp_path / "source.parquet"
    script.write_text(DRIVER)
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(NUM_ROWS)]}), source)
    environment = {**os.environ, "PYTHONPATH": str(Path(stage.__file__).parents[2])}

    def start(name):
        target, log = Artifact("corpus", str(tmp_path / name), {}), tmp_path / f"{name}.log"
        command = [sys.executable, script, source, target.uri, log]
        process = subprocess.Popen(
            [*command, ray.get_runtime_context().gcs_address],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return process, target, log

    return start


def _committed(target: Artifact) -> list[str]:
    """Names of the rows that the checkpoint says are written."""
    files = Path(target.work, "checkpoint").glob("*.parquet")
    done = [path for path in files if not path.name.endswith(".pending.parquet")]
    return [name for path in done for name in pq.read_table(path)["name"].to_pylist()]


def _published(target: Artifact) -> dict[str, bytes]:
    publish(target, shard_megabytes=0.00003, max_errors=1, expected=NUM_ROWS)
    files = [path for path in Path(target.uri).rglob("*.parquet") if "_work" not in path.parts]
    return {str(path.relative_to(target.uri)): path.read_bytes() for path in files}


def test_a_killed_map_goes_on_and_ends_as_an_undisturbed_one(driver):
    process, target, log = driver("killed")
    while len(_committed(target)) < BLOCKS_BEFORE_KILL * BLOCK_ROWS:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # the cluster ends the driver's actors
    kept, before = set(_committed(target)), log.read_text().splitlines()
    assert BLOCKS_BEFORE_KILL * BLOCK_ROWS <= len(kept) < NUM_ROWS

    process, _, _ = driver("killed")
    other, undisturbed, _ = driver("undisturbed")
    assert process.wait() == other.wait() == 0
    again = log.read_text().splitlines()[len(before) :]
    assert set(again) == {f"{number:02d}" for number in range(NUM_ROWS)} - kept
    assert _published(target) == _published(undisturbed)
    assert len(list(Path(target.uri).glob("part-*.parquet"))) > 1
    errors = pq.read_table(f"{target.uri}/_errors/part-00000.parquet").to_pylist()
    assert errors == [{"name": "13", "reason": "ValueError: unlucky"}]


def test_a_row_that_kills_its_process_is_recorded_and_harms_no_other(local_ray, tmp_path):
    source, target = tmp_path / "source.parquet", Artifact("corpus", str(tmp_path / "corpus"), {})
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(12)]}), source)

    class Deadly:
        def __init__(self, target):
            self._attempt = Attempt(target, 1)

        def __call__(self, table):
            return self._attempt(table.to_pylist(), self._compute)

        def _compute(self, rows):
            if any(row["name"] == "05" for row in rows):
                os.kill(os.getpid(), signal.SIGKILL)
            return [{"name": row["name"], "answers": []} for row in rows]

    pool = Pool(num_actors=1, batch_size=4, block_rows=4)
    arguments = {"target": target}
    stage.map_rows(
        [str(source)], ["name"], target, Deadly, arguments, pool, "compute.corpus", expected=12
    )
    publish(target, shard_megabytes=1.0, max_errors=1, expected=12)
    names = read_table(target, ["name"])["name"].to_pylist()
    assert names == [f"{number:02d}" for number in range(12) if number != 5]
    errors = pq.read_table(f"{target.uri}/_errors/part-00000.parquet").to_pylist()
    assert [error["name"] for error in errors] == ["05"]
    assert "ended its process 3 times" in errors[0]["reason"]
