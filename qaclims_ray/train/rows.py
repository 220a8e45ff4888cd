"""The images that a training goes through, within reach of random access.

Random access to Parquet on cloud storage would read a whole row group for each image. Each node
copies the rows into one uncompressed Arrow file in its temporary folder (`TMPDIR`), 13 GB for COCO,
which all workers and loader processes there map: what memory can't hold, the disk does.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import labelled
from qaclims_ray.run.tables import read_table
from qaclims_ray.types import SCHEMAS

_COLUMNS = ["name", "image", "labels"]


def training_rows(experiment: Experiment, network: str) -> pads.Dataset:
    """The images that a network trains on, in the order of their names: those with known labels.

    RITC leaves out images without answers, such as those that the VQA model failed on.
    """
    images = artifact(experiment, "images")
    images.require()
    if network == "classifier":
        return labelled(images)
    for name in ("pairs", "texts", "classifier"):
        artifact(experiment, name).require()
    asked = read_table(artifact(experiment, "pairs"), ["name"])["name"].combine_chunks()
    return labelled(images).filter(pads.field("name").isin(asked))


def save_rows(rows: pads.Dataset, path: Path) -> None:
    """Write names, encoded images and labels to an Arrow file, a few rows in memory at a time."""
    schema = pa.schema([SCHEMAS["images"].field(name) for name in _COLUMNS])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in rows.to_batches(columns=_COLUMNS):
            writer.write_batch(batch)


def open_rows(path: Path) -> pa.Table:
    """The rows of such a file, read from disk when they are asked for.

    The file may lose its name meanwhile: its space is free once no process has the table.
    """
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
