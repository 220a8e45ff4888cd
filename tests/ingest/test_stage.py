import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from qaclims_ray.cluster import maps
from qaclims_ray.config.compute import Pool
from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.ingest import readers, stage
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.faults import Attempt
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import publish, read_errors, read_table


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

    monkeypatch.setattr(maps, "read_rows", fail)


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


def test_a_broken_image_has_no_other_loaded_twice(tmp_path, monkeypatch):
    seen = []

    def load(source, **_):
        seen.append(source["name"])
        if source["name"] == "b":
            raise PermissionError("b.jpg")
        image = {"image": b"", "height": 1, "width": 1, "labels": [0], "mask": None}
        return {"name": source["name"], **image}

    monkeypatch.setattr(stage, "load", load)
    loader = stage.Loader(1, 100, Artifact("images", str(tmp_path), {}), 1)
    rows = loader(pa.table({"name": ["a", "b", "c", "d"]})).to_pylist()
    assert seen == ["a", "b", "c", "d"]
    errors = {row["name"]: row["error"] for row in rows}
    assert errors == {"a": None, "b": "PermissionError: b.jpg", "c": None, "d": None}


def test_failed_images_of_a_complete_artifact_are_tried_again_alone(
    local_ray, make_experiment, tmp_path, damaged, monkeypatch
):
    experiment = make_experiment(tmp_path)
    stage.run(experiment)
    monkeypatch.undo()
    again = stage.run(experiment, retry_errors=True)
    assert again.startswith("images: 8 rows, 0 errors, ")
    undisturbed = make_experiment(tmp_path / "undisturbed")
    stage.run(undisturbed)
    one, other = artifact(experiment, "images"), artifact(undisturbed, "images")
    assert read_table(one).equals(read_table(other))
    assert stage.run(experiment, retry_errors=True).startswith("images: complete already")


def test_labels_that_change_after_ingest_are_noticed(
    local_ray, make_experiment, tmp_path, caplog, png
):
    root = tmp_path / "mine"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(png(np.zeros((2, 2, 3), np.uint8)))
    (root / "labels.csv").write_text("name,labels\na.png,cat\n")
    data = {"data": {"kind": "folder", "root": str(root), "max_errors": 100}}
    experiment = make_experiment(tmp_path / "run", data)
    stage.run(experiment)
    stage.run(experiment)
    assert "labels changed" not in caplog.text
    (root / "labels.csv").write_text("name,labels\na.png,dog\n")
    assert "complete already" in stage.run(experiment)
    assert "the labels changed since images was made: pass --overwrite" in caplog.text
    caplog.clear()
    stage.run(experiment, overwrite=True)
    assert "labels changed" not in caplog.text
    assert class_names(artifact(experiment, "images")) == ("dog",)


class Collector:
    """An actor that hands rows on."""

    def __call__(self, rows):
        return rows


def test_rows_are_prepared_by_tasks_of_their_own(local_ray, tmp_path, monkeypatch):
    """Fused into the actors, they would be prepared by these, one batch after the other."""
    source, plans = str(tmp_path / "source.parquet"), []
    pq.write_table(pa.table({"name": ["a", "b"]}), source)
    monkeypatch.setattr(maps, "write_blocks", lambda rows, _: plans.append(rows))

    def prepare(rows):
        return rows

    target = Artifact("corpus", str(tmp_path / "corpus"), {})
    for num_cpus in (0.5, 1, 2):
        stage.map_rows(
            [source], ["name"], target, Collector, {}, Pool(num_cpus=num_cpus), "compute.corpus",
            expected=2, prepare=prepare,
        )  # fmt: skip
        stats = plans[-1].materialize().stats()
        assert re.search(r"MapBatches\(prepare\):", stats), stats
        assert re.search(r"MapBatches\(Collector\):", stats), stats


class Lengths:
    """An actor that says how many rows it got together."""

    def __call__(self, rows):
        return rows.append_column("taken", pa.array([len(rows)] * len(rows)))


def test_few_rows_are_prepared_at_a_time_and_actors_take_whole_batches(
    local_ray, tmp_path, monkeypatch
):
    """What a task holds of decoded images does not grow with the batches that suit a GPU."""
    source, taken = str(tmp_path / "source.parquet"), []
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(24)]}), source)
    monkeypatch.setattr(maps, "write_blocks", lambda rows, _: taken.extend(rows.take_all()))

    def prepare(rows):
        return rows.append_column("prepared", pa.array([len(rows)] * len(rows)))

    stage.map_rows(
        [source], ["name"], Artifact("corpus", str(tmp_path / "corpus"), {}), Lengths, {},
        Pool(batch_size=12, block_rows=24), "compute.corpus", expected=24, prepare=prepare,
    )  # fmt: skip
    assert {row["prepared"] for row in taken} == {4}
    assert {row["taken"] for row in taken} == {12}


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
    from qaclims_ray.sections.compute import Compute, Pool

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
    slow = {"target": target, "log": log}
    map_rows([source], ["name"], target, Slow, slow, pool, "compute.corpus", expected=%d)
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


@pytest.mark.parametrize(("deadly_times", "errors"), [(1, 0), (9, 1)])
def test_a_process_that_dies_harms_no_row_and_a_deadly_row_is_recorded(
    local_ray, tmp_path, deadly_times, errors
):
    source, target = tmp_path / "source.parquet", Artifact("corpus", str(tmp_path / "corpus"), {})
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(12)]}), source)

    class Deadly:
        def __init__(self, target, log):
            self._attempt, self._log = Attempt(target, 1), log

        def __call__(self, table):
            return self._attempt(table.to_pylist(), self._compute)

        def _compute(self, rows):
            if any(row["name"] == "05" for row in rows) and self._deaths() < deadly_times:
                self._log.write_text("x" * (self._deaths() + 1))
                os.kill(os.getpid(), signal.SIGKILL)
            return [{"name": row["name"], "answers": []} for row in rows]

        def _deaths(self):
            return len(self._log.read_text())

    pool, log = Pool(num_actors=1, batch_size=4, block_rows=4), tmp_path / "deaths"
    log.write_text("")
    arguments = {"target": target, "log": log}
    stage.map_rows(
        [str(source)], ["name"], target, Deadly, arguments, pool, "compute.corpus", expected=12
    )
    assert publish(target, shard_megabytes=1.0, max_errors=1, expected=12) == (12 - errors, errors)
    names = read_table(target, ["name"])["name"].to_pylist()
    assert names == [f"{number:02d}" for number in range(12) if number != 5 or not errors]
    reasons = read_errors(target).to_pylist()
    assert [row["name"] for row in reasons] == ["05"] * errors
    assert all("ended its process 3 times" in row["reason"] for row in reasons)
