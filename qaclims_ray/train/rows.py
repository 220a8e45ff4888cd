"""The images that a training goes through, within reach of random access.

Random access to Parquet on cloud storage would read a whole row group for each image. Each node
copies the rows into one uncompressed Arrow file in its temporary folder (`TMPDIR`), 13 GB for COCO,
which all workers and loader processes there map: what memory can't hold, the disk does.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as pads

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.images import labelled
from qaclims_ray.run.tables import NameIndex, read_table
from qaclims_ray.types import SCHEMAS

LABEL_MAP = "label_map"
"""Column of encoded label maps."""
CAM_COLUMNS = ["height", "width", "classes", "cam", "cam_height", "cam_width"]
"""Columns of an image's CAMs, of which `images.cams.unpack_cams` makes arrays."""
_COLUMNS = ["name", "image", "labels"]


class Rows(NamedTuple):
    """The rows of a training as artifacts hold them."""

    images: pads.Dataset
    """Rows of `images` in the order of their names."""
    label_maps: Artifact | None = None
    """Artifact with a label map of each of these images, in the same order."""
    cams: Artifact | None = None
    """Artifact with the CAMs of each of these images, in the same order."""


class TrainingSet(NamedTuple):
    """The images of a training as its workers have them."""

    table: pa.Table
    """Name, encoded image and labels, and label map or CAMs where the training has them."""
    class_names: tuple[str, ...]
    """Names of the classes in the order of their indices."""


def training_images(experiment: Experiment, having: str | None = None) -> pads.Dataset:
    """Return the rows of `images` whose labels are known, in the order of their names.

    Args:
        experiment: The run.
        having: Artifact that must be complete, and hold a row of the same name; None: none need.
    """
    images = artifact(experiment, "images")
    images.require()
    if having is None:
        return labelled(images)
    other = artifact(experiment, having)
    other.require()
    names = read_table(other, ["name"])["name"].combine_chunks()
    return labelled(images).filter(pads.field("name").isin(names))


def save_rows(rows: Rows, path: Path) -> None:
    """Write the rows into an Arrow file, a few of them in memory at a time."""
    fields = [SCHEMAS["images"].field(name) for name in _COLUMNS]
    others = [
        (artifact, NameIndex(artifact), columns)
        for artifact, columns in ((rows.label_maps, [LABEL_MAP]), (rows.cams, CAM_COLUMNS))
        if artifact is not None
    ]
    fields += [
        schema_of(artifact.name).field(name) for artifact, _, columns in others for name in columns
    ]
    schema = pa.schema(fields)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in rows.images.to_batches(columns=_COLUMNS):
            for _, index, columns in others:
                found = index.look_up(batch["name"].to_pylist(), ["name", *columns])
                assert found["name"].combine_chunks().equals(batch["name"])
                for name in columns:
                    batch = batch.append_column(name, found[name].combine_chunks())
            writer.write_batch(batch)


def open_rows(path: Path) -> pa.Table:
    """Open the rows of such a file, which are read from disk when they are asked for.

    The file may lose its name meanwhile: its space is free once no process has the table.
    """
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
