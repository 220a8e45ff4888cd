import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from qaclims_ray.cli import explain
from qaclims_ray.cluster import maps
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import Count, PendingBlocks
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.publish import publish
from qaclims_ray.run.tables import read_errors, read_table
from qaclims_ray.storage.parquet import write_parquet
from tests.run.finished import target_at


class Collector:
    """An actor that hands rows on."""

    def __call__(self, rows):
        return rows


def test_rows_are_prepared_by_tasks_of_their_own(local_ray, make_experiment, tmp_path, monkeypatch):
    """Fused into the actors, they would be prepared by these, one batch after the other."""
    source, plans = str(tmp_path / "source.parquet"), []
    pq.write_table(pa.table({"name": ["a", "b"]}), source)
    monkeypatch.setattr(maps, "written_blocks", lambda rows, _: plans.append(rows) or ())

    def prepare(rows):
        yield rows

    target = Artifact("corpus", str(tmp_path / "corpus"), {})
    for num_cpus in (0.5, 1, 2):
        experiment = make_experiment(tmp_path, {"compute.corpus.num_cpus": num_cpus})
        maps.map_actor(
            experiment, target, partial(Collector), shards=[source], columns=["name"], expected=2,
            prepare=prepare,
        )  # fmt: skip
        stats = plans[-1].materialize().stats()
        assert re.search(r"MapBatches\(prepare\):", stats), stats
        assert re.search(r"MapBatches\(corpus:Collector\):", stats), stats


class Lengths:
    """An actor that says how many rows it got together."""

    def __call__(self, rows):
        return rows.append_column("taken", pa.array([len(rows)] * len(rows)))


def test_tasks_prepare_whole_blocks_piece_by_piece_and_actors_take_whole_batches(
    local_ray, make_experiment, tmp_path, monkeypatch
):
    """What a task holds of decoded images is its own choice, whatever batches suit a GPU."""
    source, taken = str(tmp_path / "source.parquet"), []
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(24)]}), source)
    monkeypatch.setattr(maps, "written_blocks", lambda rows, _: taken.extend(rows.take_all()) or ())

    def prepare(rows):
        for start in range(0, len(rows), 5):
            piece = rows.slice(start, 5)
            yield piece.append_column("block", pa.array([len(rows)] * len(piece)))

    pool = {"compute.corpus.batch_size": 12, "compute.corpus.block_rows": 24}
    maps.map_actor(
        make_experiment(tmp_path, pool), Artifact("corpus", str(tmp_path / "corpus"), {}),
        partial(Lengths), shards=[source], columns=["name"], expected=24, prepare=prepare,
    )  # fmt: skip
    assert [row["name"] for row in taken] == [f"{number:02d}" for number in range(24)]
    assert {row["block"] for row in taken} == {24}
    assert {row["taken"] for row in taken} == {12}


def test_flipped_bytes_in_the_pages_of_a_shard_end_a_map(local_ray, tmp_path):
    pixels = random.Random(0).randbytes(5000)  # nothing that is compressed
    source, work = str(tmp_path / "source.parquet"), PendingBlocks(target_at(tmp_path))
    rows = pa.table({"name": ["a", "b"], "image": [pixels, pixels[::-1]]})
    write_parquet(rows.append_column("error", pa.nulls(2, pa.string())), source)
    (written,) = maps.written_blocks(maps.read_rows([source]), work.write)
    assert work.note(written) == Count(2, 0, 0)
    for path in (Path(source), *map(Path, work.blocks())):
        content = bytearray(path.read_bytes())
        content[content.index(pixels[:20]) + 2000] ^= 1
        path.write_bytes(content)
        with pytest.raises((ray.exceptions.RayError, OSError)) as caught:
            maps.read_rows([str(path)]).take_all()
        message = explain(caught.value)
        assert message is not None
        assert re.search(r"OSError: .*checksum", message), message


NUM_ROWS = 24


BLOCK_ROWS = 2


BLOCKS_BEFORE_KILL = 3


DRIVER = dedent("""\
    import os, sys, time
    from functools import partial
    from qaclims_ray.cluster.maps import map_actor
    from qaclims_ray.cluster.session import start
    from qaclims_ray.config.experiment import load
    from qaclims_ray.run.artifact import Artifact
    from qaclims_ray.run.faults import IsolatedMap

    config, source, uri, log, address = sys.argv[1:]

    class Slow:
        def __init__(self, target, log):
            self._map, self._log = IsolatedMap(target, 9), log

        def __call__(self, table):
            time.sleep(0.25)
            return self._map(table.to_pylist(), self._compute)

        def _compute(self, rows):
            with open(self._log, "a") as file:
                file.write("".join(row["name"] + "\\n" for row in rows))
            if len(rows) == 1 and rows[0]["name"] == "13":
                raise ValueError("unlucky")
            if any(row["name"] == "13" for row in rows):
                raise ValueError("an unlucky batch")
            return [{"name": row["name"], "answers": []} for row in rows]

    pool = {"num_actors": 1, "batch_size": %d, "block_rows": %d}
    experiment = load(config, {"compute.address": address, "compute.corpus": pool})
    start(experiment.compute)
    target = Artifact("corpus", uri, {})
    slow = partial(Slow, target, log=log)
    map_actor(experiment, target, slow, shards=[source], columns=["name"], expected=%d)
""") % (BLOCK_ROWS, BLOCK_ROWS, NUM_ROWS)


@pytest.fixture
def driver(local_ray, tmp_path, demo_config):
    """Starts the map of a table in a process of its own; gives the process, target and log."""
    script, source = tmp_path / "driver.py", tmp_path / "source.parquet"
    script.write_text(DRIVER)
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(NUM_ROWS)]}), source)
    environment = {**os.environ, "PYTHONPATH": str(Path(maps.__file__).parents[2])}

    def start(name):
        target, log = Artifact("corpus", str(tmp_path / name), {}), tmp_path / f"{name}.log"
        command = [sys.executable, script, demo_config, source, target.uri, log]
        process = subprocess.Popen(
            [*command, ray.get_runtime_context().gcs_address],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return process, target, log

    return start


def _committed(target: Artifact) -> list[str]:
    """Names of the rows that are written."""
    done = Path(target.work, "rows").glob("*.parquet")
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
    local_ray, make_experiment, tmp_path, deadly_times, errors
):
    source, target = tmp_path / "source.parquet", Artifact("corpus", str(tmp_path / "corpus"), {})
    pq.write_table(pa.table({"name": [f"{number:02d}" for number in range(12)]}), source)

    class Deadly:
        def __init__(self, target, log):
            self._map, self._log = IsolatedMap(target, 1), log

        def __call__(self, table):
            return self._map(table.to_pylist(), self._compute)

        def _compute(self, rows):
            if any(row["name"] == "05" for row in rows) and self._crashes() < deadly_times:
                self._log.write_text("x" * (self._crashes() + 1))
                os.kill(os.getpid(), signal.SIGKILL)
            return [{"name": row["name"], "answers": []} for row in rows]

        def _crashes(self):
            return len(self._log.read_text())

    pool = {"compute.corpus": {"num_actors": 1, "batch_size": 4, "block_rows": 4}}
    experiment, log = make_experiment(tmp_path, pool), tmp_path / "deaths"
    log.write_text("")
    deadly = partial(Deadly, target=target, log=log)
    maps.map_actor(experiment, target, deadly, shards=[str(source)], columns=["name"], expected=12)
    assert publish(target, shard_megabytes=1.0, max_errors=1, expected=12) == (12 - errors, errors)
    names = read_table(target, ["name"])["name"].to_pylist()
    assert names == [f"{number:02d}" for number in range(12) if number != 5 or not errors]
    reasons = read_errors(target).to_pylist()
    assert [row["name"] for row in reasons] == ["05"] * errors
    assert all("ended its process 3 times" in row["reason"] for row in reasons)
