"""Batches of a set that lies whole on the disk, and of one read ahead through a tenth of its size.

    PYTHONPATH=. python tests/benchmarks/buffer.py 768

Images of 500 x 375 pixels, in row groups of 16 on the local disk, decoded and cropped in this
process. CPU seconds are those of all threads.
"""

import io
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from qaclims_ray.config.train import Augment
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.train.batches import BatchLoader, TrainingImages
from qaclims_ray.train.groups import survey
from qaclims_ray.train.rows import Rows, open_rows, save_rows
from qaclims_ray.train.sets import BufferedSet, WholeSet
from qaclims_ray.train.targets import LabelTargets
from tests.build import write_artifact

CLASSES = ("cat", "dog")


def write(folder, num_images):
    """Shards of 256 images; 64 different JPEG files, each with a tail of its own."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(64):
        noise = Image.fromarray(rng.integers(0, 256, (94, 125, 3), np.uint8))
        file = io.BytesIO()
        noise.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    rows = [
        {
            "name": f"{number:07d}",
            "image": files[number % 64] + number.to_bytes(4, "big"),
            "height": 375,
            "width": 500,
            "labels": [number % 2],
        }
        for number in range(num_images)
    ]
    images = Artifact("images", str(folder / "images"), {})
    shards = [rows[start : start + 256] for start in range(0, num_images, 256)]
    write_artifact(images, *shards, row_group_size=16)
    return Rows(images)


def measure(label, data, size):
    """Load an epoch; print images and CPU seconds."""
    images = TrainingImages(data, LabelTargets(2), Augment(), seed=0, max_pixels=10**8)
    options = {"num_batches": 1, "images_per_batch": size, "rank": 0, "world_size": 1}
    loader = BatchLoader(images, seed=0, num_workers=0, **options)
    begin, cpu = time.perf_counter(), time.process_time()
    first = 0.0
    for step, _ in enumerate(loader.steps(0)):
        first = time.perf_counter() - begin if step == 0 else first
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    count = loader.steps_per_epoch * size
    print(
        f"{label:10} {count} images, {count / seconds:7.1f} a second, {1e3 * cpu / count:6.2f} ms "
        f"CPU each, first batch after {first:.2f} s"
    )


def main(num_images):
    """Print a line per way, and what copying the whole set takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write(folder, num_images)
        found = survey(rows)
        print(f"{found.num_bytes / 1e6:.0f} MB, load average {os.getloadavg()[0]:.1f}")
        begin, cpu = time.perf_counter(), time.process_time()
        save_rows(rows, folder / "rows")
        whole = WholeSet(open_rows(folder / "rows"), CLASSES)
        print(
            f"copied in {time.perf_counter() - begin:.1f} s, "
            f"{1e3 * (time.process_time() - cpu) / num_images:.2f} ms CPU an image"
        )
        buffered = BufferedSet(
            rows, found.groups, CLASSES, buffer_bytes=found.num_bytes // 10, folder=name
        )
        for _ in range(2):
            measure("whole", whole, 2)
            measure("a tenth", buffered, 2)


if __name__ == "__main__":
    main(int(sys.argv[1]))
