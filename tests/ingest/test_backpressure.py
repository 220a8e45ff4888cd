"""An input ten times the object store goes through a map in bounded memory.

In a process of its own, as it needs a Ray with a small object store.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest

STORE_MEGABYTES, NUM_IMAGES, HEIGHT, WIDTH = 80, 400, 800, 1000

DRIVER = dedent("""\
    import json, os, sys, threading, time
    from functools import partial
    from pathlib import Path
    import numpy as np, pyarrow as pa, pyarrow.parquet as pq, ray
    from io import BytesIO
    from PIL import Image
    from qaclims_ray.artifacts import Artifact
    from qaclims_ray.attempts import Attempt
    from qaclims_ray.compute import start
    from qaclims_ray.data.decoded import decode_table, images_of
    from qaclims_ray.data.stage import map_rows
    from qaclims_ray.sections.compute import Compute, Pool

    folder, store, num_images, height, width = sys.argv[1], *map(int, sys.argv[2:])

    class Slow:
        def __init__(self, target):
            self._attempt = Attempt(target, 0)

        def __call__(self, rows):
            return self._attempt(rows.to_pylist(), self._compute)

        def _compute(self, rows):
            time.sleep(0.05 * len(rows))
            assert {image.shape for image in images_of(rows)} == {(height, width, 3)}
            return [{"name": row["name"], "answers": []} for row in rows]

    file = BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "JPEG")
    names = [f"{i:04d}" for i in range(num_images)]
    images = {"name": names, "image": [file.getvalue()] * num_images, "labels": [[0]] * num_images}
    pq.write_table(pa.table(images), f"{folder}/images.parquet", row_group_size=64)
    start(Compute(num_cpus=4, object_store_megabytes=store))
    target = Artifact("corpus", f"{folder}/corpus", {})
    used, spilled, done = [0], [0], threading.Event()

    def watch():
        while not done.wait(0.1):
            free = ray.available_resources().get("object_store_memory", 0)
            used.append(ray.cluster_resources()["object_store_memory"] - free)
            files = Path(os.environ["RAY_TMPDIR"]).rglob("ray_spilled_objects*/*")
            spilled.append(sum(file.stat().st_size for file in files if file.exists()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    map_rows(
        [f"{folder}/images.parquet"], ["name", "image", "labels"], target, Slow,
        {"target": target}, Pool(batch_size=4, block_rows=8), "compute.corpus",
        expected=num_images, prepare=partial(decode_table, max_pixels=height * width),
    )
    done.set()
    watcher.join()
    rows = pq.read_table(f"{target.work}/rows").num_rows
    print(json.dumps({"rows": rows, "used": max(used), "spilled": max(spilled)}))
""")


@pytest.mark.slow
def test_ten_times_the_object_store_goes_through_without_spilling(tmp_path: Path):
    assert NUM_IMAGES * HEIGHT * WIDTH * 3 >= 10 * STORE_MEGABYTES * 2**20
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    arguments = [tmp_path, STORE_MEGABYTES, NUM_IMAGES, HEIGHT, WIDTH]
    # A short folder: socket paths are limited to 107 characters.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            env={**os.environ, "RAY_TMPDIR": folder}, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    assert result["rows"] == NUM_IMAGES
    assert result["used"] <= STORE_MEGABYTES * 2**20
    assert result["spilled"] == 0
