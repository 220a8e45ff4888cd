"""Ray around the corpus stage: throughput with more actors, and what Ray adds to each image.

    python tests/benchmarks/scaling.py [actors|overhead]

Actors: an engine that waits a fixed time per batch and uses no CPU, so that many actors fit on few
cores; whatever is missing to the ideal is Ray's. Overhead: the demo's tiny BLIP in one actor
against a plain loop over the same images, in one run.
"""

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from growth import cpu_seconds

from qaclims_ray.cluster.maps import map_actor
from qaclims_ray.cluster.session import start
from qaclims_ray.config.compute import Compute
from qaclims_ray.config.experiment import load
from qaclims_ray.corpus import stage as corpus
from qaclims_ray.corpus.ask import answer_all
from qaclims_ray.corpus.engines.build import build_engine
from qaclims_ray.images.decoded import decode_table
from qaclims_ray.ingest import stage as data
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import read_table

ACTORS = (1, 2, 4, 8, 16)
BATCH, WAIT, BATCHES = 8, 2.0, 12
"""Images of a batch, seconds that it takes, batches of each actor."""
CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"
IMAGES = (320, 1600)


class Waiter:
    """The shape of `corpus.stage.Answerer`, with an engine that waits; notes when it worked."""

    def __init__(self, target, log):
        self._map = IsolatedMap(target, 0)
        self._log = Path(log) / f"{os.getpid()}.txt"

    def __call__(self, images):
        begun = time.time()
        table = self._map(images.to_pylist(), self._answer)
        with self._log.open("a") as file:
            file.write(f"{begun} {time.time()}\n")
        return table

    def _answer(self, rows):
        time.sleep(WAIT)
        return [{"name": row["name"], "answers": []} for row in rows]


def wait_with(num_actors, folder):
    """Seconds in which the actors worked, and the mean share of it that each was busy."""
    log = folder / "log"
    log.mkdir(parents=True)
    names = [f"{i:06d}" for i in range(num_actors * BATCHES * BATCH)]
    pq.write_table(pa.table({"name": names}), folder / "images.parquet")
    pool = {"num_actors": num_actors, "num_cpus": 0.1, "batch_size": BATCH, "block_rows": BATCH}
    experiment = load(CONFIG, {"run": str(folder), "compute.corpus": pool})
    target = artifact(experiment, "corpus")
    target.start({})
    map_actor(
        experiment,
        target,
        partial(Waiter, target=target, log=str(log)),
        shards=[str(folder / "images.parquet")],
        columns=["name"],
        expected=len(names),
    )
    worked = np.concatenate([np.loadtxt(file, ndmin=2) for file in log.iterdir()])
    span = worked[:, 1].max() - worked[:, 0].min()
    return span, (worked[:, 1] - worked[:, 0]).sum() / (span * num_actors)


def actors(folder):
    """Throughput and busy share for each number of actors."""
    print(f"{WAIT:g} s a batch of {BATCH} images, {BATCHES} batches an actor")
    print("actors   images/s   ideal   share of it   actors busy   load average")
    for num_actors in ACTORS:
        span, busy = wait_with(num_actors, folder / str(num_actors))
        speed, ideal = num_actors * BATCHES * BATCH / span, num_actors * BATCH / WAIT
        print(
            f"{num_actors:6d} {speed:10.1f} {ideal:7.1f} {speed / ideal:12.0%} {busy:13.0%} "
            f"{os.getloadavg()[0]:12.0f}",
            flush=True,
        )


def plainly(experiment):
    """A loop without Ray over the images, loading of the model included."""
    images = artifact(experiment, "images")
    engine = build_engine(experiment.corpus.engine, device="cpu", num_gpus=1.0)
    names, questions = class_names(images), experiment.corpus.questions
    table = read_table(images, ["name", "image", "labels"])
    for batch in table.to_batches(max_chunksize=experiment.compute.corpus.batch_size):
        decoded = decode_table(pa.table(batch), max_pixels=experiment.data.max_pixels)
        answer_all(decoded.to_pylist(), engine, names, questions)


def overhead(folder):
    """Start-up and cost of an image, from two numbers of images, with Ray and without."""
    ways = {"plain loop": plainly, "corpus stage": corpus.run}
    found = {way: [] for way in ways}
    for num_images in IMAGES:
        overrides = {"run": str(folder / f"run{num_images}"), "data.num_images": num_images}
        experiment = load(CONFIG, {**overrides, "compute.corpus.num_actors": 1})
        data.run(experiment)
        for way, run in ways.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            run(experiment)
            found[way].append((time.perf_counter() - wall, cpu_seconds() - cpu))
    print(f"load average {os.getloadavg()[0]:.1f}")
    print(
        f"way            {'':5s} {IMAGES[0]:4d} images  {IMAGES[1]:4d} images   an image   start-up"
    )
    for way, (few, many) in found.items():
        for what, less, more in zip(("wall", "CPU"), few, many, strict=True):
            each = (more - less) / (IMAGES[1] - IMAGES[0])
            print(
                f"{way:14s} {what:5s} {less:9.1f} s {more:10.1f} s {1e3 * each:7.1f} ms "
                f"{less - IMAGES[0] * each:8.1f} s",
                flush=True,
            )


def main():
    """Print the tables asked for."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        start(Compute(num_cpus=6, object_store_megabytes=300))
        for table in (actors, overhead):
            if sys.argv[1:] in ([], [table.__name__]):
                table(Path(folder) / table.__name__)
        ray.shutdown()


if __name__ == "__main__":
    main()
