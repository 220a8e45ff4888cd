"""Finished rows of an artifact, as a map leaves them, and what is published of them."""

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import work_schema


def image_row(name: str, size: int = 10, mask: bytes | None = None) -> dict:
    return {
        "name": name,
        "image": bytes(size),
        "height": 2,
        "width": 3,
        "labels": [size % 3],
        "mask": mask,
        "error": None,
    }


def failed_row(name: str, reason: str = "broken") -> dict:
    return {"name": name, "error": reason}


def target_at(folder: object, name: str = "images") -> Artifact:
    return Artifact(name, f"{folder}/{name}", {})


def write_blocks(target: Artifact, blocks: Sequence[Sequence[dict]]) -> Artifact:
    """Unfinished blocks, as a map leaves them."""
    for number, rows in enumerate(blocks):
        path = Path(target.work) / "rows" / f"{random.random()}-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema=work_schema(target.name)), path)
    return target


def published_files(target: Artifact) -> dict[str, bytes]:
    folder = Path(target.uri)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
        if "_work" not in path.parts
    }
