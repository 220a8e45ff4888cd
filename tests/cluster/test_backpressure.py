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
    from qaclims_ray.cluster.maps import map_actor
    from qaclims_ray.cluster.session import start
    from qaclims_ray.config.experiment import load
    from qaclims_ray.images.decoded import decode_tables, images_of
    from qaclims_ray.run.artifact import Artifact
    from qaclims_ray.run.faults import IsolatedMap

    config, folder = sys.argv[1:3]
    store, num_images, height, width = map(int, sys.argv[3:])

    class Slow:
        def __init__(self, target):
            self._map = IsolatedMap(target, 0)

        def __call__(self, rows):
            return self._map(rows.to_pylist(), self._compute)

        def _compute(self, rows):
            time.sleep(0.05 * len(rows))
            assert {image.shape for image in images_of(rows)} == {(height, width, 3)}
            return [{"name": row["name"], "answers": []} for row in rows]

    file = BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "JPEG")
    names = [f"{i:04d}" for i in range(num_images)]
    images = {"name": names, "image": [file.getvalue()] * num_images, "labels": [[0]] * num_images}
    pq.write_table(pa.table(images), f"{folder}/images.parquet", row_group_size=64)
    pool = {"num_actors": 1, "batch_size": 4, "block_rows": 8}
    compute = {"num_cpus": 4, "object_store_megabytes": store, "corpus": pool}
    experiment = load(config, {"run": folder, "compute": compute})
    start(experiment.compute)
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
    map_actor(
        experiment, target, partial(Slow, target=target), shards=[f"{folder}/images.parquet"],
        columns=["name", "image", "labels"], expected=num_images,
        prepare=partial(decode_tables, max_pixels=height * width),
    )
    done.set()
    watcher.join()
    rows = pq.read_table(f"{target.work}/rows").num_rows
    print(json.dumps({"rows": rows, "used": max(used), "spilled": max(spilled)}))
""")


@pytest.mark.slow
def test_ten_times_the_object_store_goes_through_without_spilling(
    tmp_path: Path, demo_config: Path
):
    assert NUM_IMAGES * HEIGHT * WIDTH * 3 >= 10 * STORE_MEGABYTES * 2**20
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    arguments = [demo_config, tmp_path, STORE_MEGABYTES, NUM_IMAGES, HEIGHT, WIDTH]
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
