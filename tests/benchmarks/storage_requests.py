"""Requests to an object store per 1,000 images: counted by an S3 server that stands before moto.

    python tests/benchmarks/storage_requests.py [--images 500] [--stage ingest] [--source tar] [K=V]

Images of 32 x 32 pixels with labels, as loose files or in one tar; the demo's tiny BLIP answers.
The kinds: what the requests are about, and the method, `HEAD`, `GET` and so on.
"""

import argparse
import io
import logging
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from PIL import Image
from werkzeug.serving import make_server

from qaclims_ray.storage.files import filesystem, write_bytes

ROOT = Path(__file__).parents[2]
BUCKET = "s3://bucket"


class Counting:
    """Counts requests by what they are about and by method, and hands them on."""

    def __init__(self, app):
        self._app, self.counts = app, Counter()

    def __call__(self, environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        query = parse_qs(environ.get("QUERY_STRING", ""))
        if "list-type" in query:
            method, path = "LIST", f"/bucket/{query.get('prefix', [''])[0]}"
        self.counts[f"{method} {_about(path)}"] += 1
        return self._app(environ, start_response)


def _about(path: str) -> str:
    """Say what a path is: a file of the data set, or the folder of the run that it lies in."""
    if "/set/" in path:
        return "data set"
    within = path.partition("/run/")[2].split("/")
    if "_work" in within:
        return f"work: {within[3]}" if len(within) > 3 else "work"
    return "/".join([*within[:-1], within[-1].partition("-")[0]]) if within[0] else "bucket"


def serve() -> Counting:
    """Start the server in a thread of this process; environment variables lead to it."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "tester",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    app = Counting(DomainDispatcherApplication(create_backend_app))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", port, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    filesystem(BUCKET)[0].mkdir("bucket")
    return app


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def upload(num_images: int, source: str) -> list[str]:
    """Put a data set into the bucket; return the overrides that read it."""
    if source == "tar":
        return _upload_tar(num_images)
    for number in range(num_images):
        write_bytes(f"{BUCKET}/set/images/{number:05d}.jpg", picture(number))
    labels = "".join(f"{number:05d}.jpg,cat\n" for number in range(num_images))
    write_bytes(f"{BUCKET}/set/labels.csv", labels.encode())
    return [f"data={{kind: folder, root: {BUCKET}/set}}"]


def _upload_tar(num_images: int) -> list[str]:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for number in range(num_images):
            for name, content in (("jpg", picture(number)), ("cls", b"0")):
                member = tarfile.TarInfo(f"{number:05d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    write_bytes(f"{BUCKET}/set/00.tar", whole.getvalue())
    return [f"data={{kind: webdataset, shards: {BUCKET}/set/00.tar, class_names: [cat]}}"]


def run_stage(stage: str, overrides: list[str]) -> None:
    """Run a job in a process of its own."""
    script = {"ingest": "ingest", "corpus": "build_corpus"}[stage]
    command = [sys.executable, f"jobs/{script}.py", "--config", "configs/demo.yaml"]
    done = subprocess.run(
        [*command, f"run={BUCKET}/run", "compute.num_cpus=4", *overrides],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--stage", default="ingest,corpus")
    parser.add_argument("--source", default="files,tar")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    app = serve()
    for source in given.source.split(","):
        filesystem(BUCKET)[0].rm("bucket", recursive=True)
        filesystem(BUCKET)[0].mkdir("bucket")
        overrides = [*upload(given.images, source), *given.overrides]
        for stage in given.stage.split(","):
            app.counts.clear()
            begun = time.monotonic()
            run_stage(stage, overrides)
            total = 1000 * app.counts.total() / given.images
            print(f"{stage} of {source}: {total:.0f} per 1,000, {time.monotonic() - begun:.0f} s")
            for kind, count in app.counts.most_common(25):
                print(f"    {1000 * count / given.images:8.0f} {kind}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
