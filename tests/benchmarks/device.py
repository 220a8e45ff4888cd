"""How busy the corpus stage keeps a device, which is a queue that takes a fixed time an image.

    python tests/benchmarks/device.py [--ms 25] [--images 2048] [--threads 2] [--alone]

Photographs of 375 x 500 pixels go through the stage's own map: 16 tasks on CPUs look up what is
known, decode and resize to 480 pixels; the actor stacks and copies them, makes tokens of questions
and texts of answers, lemmatises and writes rows. The network alone is replaced. Two threads call
the actor, as where it has a GPU (Ray is told of one), or one. Busy is the share that the queue
works of the time from the first batch's begin to the last one's end. With `--alone` the images are
prepared before, and threads of this process call the actor without Ray.
"""

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from growth import cpu_seconds
from PIL import Image as pil

from qaclims_ray.cluster.maps import map_actor
from qaclims_ray.cluster.session import start
from qaclims_ray.config.compute import Compute
from qaclims_ray.config.experiment import load
from qaclims_ray.corpus.answerer import Answerer
from qaclims_ray.corpus.cache import open_cache
from qaclims_ray.corpus.prepare import prepare
from qaclims_ray.images.decode import encode_jpeg
from qaclims_ray.images.decoded import Fit
from qaclims_ray.run.artifact import artifact

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"
CLASSES = ("car", "cat", "dog")
FIT = Fit(480, 480, 3)
TASKS, BATCH, SHARD, FILES = 16, 32, 128, 16
WARM = 8
"""Batches after which Ray has started all processes."""


class Queue:
    """Takes batches one after the other, each for its time, as a GPU's stream does."""

    def __init__(self, log, seconds):
        self._log, self._seconds = log, seconds
        self._lock = threading.Lock()
        self._free = 0.0

    def work(self, num_images):
        """Wait until the batch, put into the queue now, is done."""
        with self._lock:
            begun = max(time.time(), self._free)
            self._free = end = begun + num_images * self._seconds
            with self._log.open("a") as file:
                file.write(f"{begun} {end}\n")
        time.sleep(max(0.0, end - time.time()))


class Stubbed(Answerer):
    """The stage's actor; its network is a queue."""

    def __init__(self, experiment, class_names, target, log, seconds):
        from qaclims_ray.corpus.engines import blip

        queue = Queue(Path(log), seconds)

        def generate(_model, pixels, questions, **_):
            queue.work(len(pixels))
            return [[[5 + 7 * n % 900, 7] for n, _ in enumerate(asked)] for asked in questions]

        blip.generate = generate
        blip.look_up = lambda pixels, levels: pixels[:, :1, :1, :1].float()  # a GPU would do it
        super().__init__(experiment, class_names, target)
        self._engine._fit = FIT


def scene(rng):
    """Soft shapes and some noise."""
    shapes = pil.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    noise = rng.integers(-5, 6, (375, 500, 3))
    return np.clip(np.asarray(shapes).astype(int) + noise, 0, 255).astype(np.uint8)


def photographs(folder, num_images):
    """Write shards of JPEG files, about as large as photographs are; return their paths."""
    rng = np.random.default_rng(0)
    files = [encode_jpeg(scene(rng)) for _ in range(FILES)]
    for first in range(0, num_images, SHARD):
        numbers = range(first, min(first + SHARD, num_images))
        # A JPEG file may have bytes behind its end; equal files would be asked about once.
        images = [files[number % FILES] + b"%07d" % number for number in numbers]
        labels = pa.array([[number % 3] for number in numbers], pa.list_(pa.int32()))
        table = {"name": [f"{n:07d}" for n in numbers], "image": images, "labels": labels}
        pq.write_table(pa.table(table), folder / f"images-{first:07d}.parquet")
    return sorted(map(str, folder.glob("images-*.parquet"))), np.mean([len(file) for file in files])


def feed(experiment, folder, shards, num_images, seconds):
    """Map the images; return when the queue began and ended each batch."""
    actor, log = arguments(experiment, folder, seconds)
    map_actor(
        experiment,
        actor["target"],
        Stubbed,
        actor,
        shards=shards,
        columns=["name", "image", "labels"],
        expected=num_images,
        overlaps=True,
        prepare=preparing(experiment, folder),
    )
    return np.loadtxt(log, ndmin=2)


def feed_alone(experiment, folder, shards, num_threads, seconds):
    """The same by threads of this process, of images that are prepared already."""
    actor, log = arguments(experiment, folder, seconds)
    ready = preparing(experiment, folder)
    images = pa.concat_tables(one for file in shards for one in ready(pq.read_table(file)))
    answer = Stubbed(**actor)
    with ThreadPoolExecutor(num_threads) as pool:
        batches = [images.slice(i, BATCH) for i in range(0, len(images), BATCH)]
        list(pool.map(answer, batches))
    return np.loadtxt(log, ndmin=2)


def arguments(experiment, folder, seconds):
    """Arguments of the actor, and the file that its queue writes."""
    target, log = artifact(experiment, "corpus"), folder / "log.txt"
    target.start({})
    actor = {"experiment": experiment, "class_names": CLASSES, "target": target}
    return {**actor, "log": str(log), "seconds": seconds}, log


def preparing(experiment, folder):
    """What tasks on CPUs do."""
    return partial(
        prepare,
        max_pixels=experiment.data.max_pixels,
        fit=FIT,
        class_names=CLASSES,
        questions=experiment.corpus.questions,
        cache=open_cache(experiment, str(folder / "complaints")),
    )


def busy(worked):
    """Share of the time in which the queue works."""
    return (worked[:, 1] - worked[:, 0]).sum() / (worked[:, 1].max() - worked[:, 0].min())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ms", type=float, default=25.0, help="of the device, for an image")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2, choices=(1, 2))
    parser.add_argument("--alone", action="store_true", help="without Ray")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.environ["RAY_TMPDIR"] = name
        folder, seconds = Path(name), options.ms / 1e3
        shards, size = photographs(folder, options.images)
        pool = {"num_actors": 1, "batch_size": BATCH, "num_gpus": options.threads - 1}
        experiment = load(CONFIG, {"run": f"{name}/run", "compute.corpus": pool})
        before, cpu = os.getloadavg()[0], cpu_seconds()
        if options.alone:
            worked = feed_alone(experiment, folder, shards, options.threads, seconds)
        else:
            ray.init = partial(ray.init, num_gpus=1)
            start(Compute(num_cpus=TASKS + 2, object_store_megabytes=1000))
            worked = feed(experiment, folder, shards, options.images, seconds)
        cpu = 1e3 * (cpu_seconds() - cpu) / options.images
        gaps = 1e3 * (worked[1:, 0] - worked[:-1, 1])[WARM:]
        print(f"load average {before:.1f} to {os.getloadavg()[0]:.1f}; files {size / 1e3:.0f} kB")
        print(f"{options.threads} threads, {options.ms:g} ms an image, {len(worked)} batches")
        print(f"busy {busy(worked):.1%}, after {WARM} batches {busy(worked[WARM:]):.1%}")
        print(f"between two batches {np.median(gaps):.1f} ms, at most {gaps.max():.0f} ms")
        print(f"{cpu:.1f} CPU ms an image, start of all processes included")
        ray.shutdown()


if __name__ == "__main__":
    main()
