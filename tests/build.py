"""Builders that tests share: pictures, files, tars, servers, artifacts.

from tests.build import jpeg, photo, put, write_artifact
"""

import io
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image as pil

from qaclims_ray.run.artifact import COMPLETE, Artifact
from qaclims_ray.run.contents import list_contents
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.manifest import Built
from qaclims_ray.storage.files import read_json, write_json
from qaclims_ray.storage.filesystem import filesystem
from qaclims_ray.storage.parquet import write_parquet

WAITING_JOB = """
import sys, time
from pathlib import Path
import ray.train, ray.tune
from qaclims_ray.cli import run_job
from qaclims_ray.cluster.session import start
from qaclims_ray.cluster.training import fit
from qaclims_ray.config.compute import Compute

what, folder = sys.argv[1:]

def wait(config=None):
    Path(folder, "begun").touch()
    time.sleep(600)
"""
"""Beginning of a script whose `main` has Ray wait for long, in the way that `what` says."""


def manifest(name: str, **values: object) -> dict[str, object]:
    """Return the completion marker of an artifact, all but its list of files."""
    empty: dict[str, object] = {"inputs": {}, "recipe": {}, "facts": {}, "versions": {}}
    empty |= {"identity": "", "digest": "", "revision": ""}
    return {"artifact": name, **empty, "rows": 0, "errors": 0, "seconds": 0.0, **values}


def photo(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Smooth RGB pixels, which survive JPEG, different in every corner."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.array(pil.fromarray(coarse).resize((width, height), pil.Resampling.BICUBIC))


def encode(picture: pil.Image | np.ndarray, file_format: str = "PNG", **options: Any) -> bytes:
    """The file of a picture or of pixels; `options` go to Pillow."""
    image = pil.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """The file of an image or label map, without loss."""
    return encode(pixels)


def jpeg(pixels: np.ndarray) -> bytes:
    """The file of an image, with loss."""
    return encode(pixels, "JPEG")


def exif(orientation: int) -> pil.Exif:
    """EXIF data with an orientation, 1 to 8."""
    data = pil.Exif()
    data[0x0112] = orientation
    return data


def annotation(*names: str, difficult: int = 0) -> str:
    """A VOC annotation with objects of these classes."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult></object>" for name in names
    )
    return f"<annotation>{objects}</annotation>"


def put(path: Path, content: bytes | str) -> Path:
    """Write a file, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tar(path: Path, members: Iterable[tuple[str, bytes | str]], **options: Any) -> str:
    """Write a tar of (name, content) and return its path; `options` go to `tarfile.open`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, **{"mode": "w", **options}) as archive:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def relist(target: Artifact) -> None:
    """Make an artifact, whose files a test has changed, whole as it now is."""
    manifest = {**read_json(f"{target.uri}/{COMPLETE}"), "files": list_contents(target.uri)}
    write_json(f"{target.uri}/{COMPLETE}", manifest)


def write_artifact(
    target: Artifact,
    *shards: Sequence[Mapping[str, Any]],
    facts: dict[str, Any] | None = None,
    errors: Mapping[str, str] | None = None,
    row_group_size: int | None = None,
) -> None:
    """Make an artifact complete: rows of each shard, facts, and the reasons of failed rows."""
    schema = schema_of(target.name)
    for number, rows in enumerate(shards):
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        write_parquet(table, f"{target.uri}/part-{number:05d}.parquet", row_group_size)
    if errors:
        failed = pa.table({"name": list(errors), "reason": list(errors.values())})
        write_parquet(failed, f"{target.uri}/_errors/part-00000.parquet")
    target.complete(Built(sum(map(len, shards)), len(errors or {}), facts or {}), 1.0, {})


class FileHandler(SimpleHTTPRequestHandler):
    """Hands out files, silently."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
        pass


@contextmanager
def web_server(folder: Path, handler: type[FileHandler] = FileHandler) -> Iterator[str]:
    """A web server of the files below a folder; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def s3_server(folder: Path, *, every: int = 0, secret: str = "x") -> Iterator[dict[str, str]]:
    """An S3 server in a process of its own that logs into a folder; gives the environment to set.

    Of `every` so many requests one is refused and one is slow; 0: none.
    """
    port = free_port()
    script = str(Path(__file__).parent / "cluster" / "s3_server.py")
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, script, str(port), str(every)], stderr=log)
    try:
        while not _answers(port):
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def make_bucket(name: str = "bucket") -> str:
    """Make a bucket at the server that the environment leads to, and return its URI."""
    filesystem("s3://")[0].clear_instance_cache()
    filesystem("s3://")[0].mkdir(name)
    return f"s3://{name}"


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(port: int) -> bool:
    with closing(socket.socket()) as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
