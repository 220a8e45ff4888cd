"""The rows that a training learns from: images with their labels, and what other artifacts add.

Random access to Parquet on cloud storage would read a whole row group for each image. Each node
copies the rows into one uncompressed Arrow file in its temporary folder (`TMPDIR`), 13 GB for COCO,
which all workers and loader processes there map: what memory can't hold, the disk does. Of a set
that is larger than `compute.train.cache_gigabytes` a part is there at a time, see buffer.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

import pyarrow as pa
import pyarrow.dataset as pads
from typing_extensions import TypedDict

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.graph import schema_of
from qaclims_ray.run.images import KNOWN, labelled
from qaclims_ray.run.tables import ROW_GROUP, NameIndex, batches_of
from qaclims_ray.types import SCHEMAS, TextPair

LABEL_MAP = "label_map"
"""Column of encoded label maps."""
CAM_COLUMNS = ["height", "width", "classes", "cam", "cam_height", "cam_width"]
"""Columns of an image's CAMs, of which `images.cams.unpack_cams` makes arrays."""
IMAGE_COLUMNS = ["name", "image", "labels"]
"""Columns of `images` that a training takes."""
LABELS_AT_ONCE = 4096
"""Images whose labels are in memory at a time."""


class Row(TypedDict):
    """An image of a training; further values are those of the columns of other artifacts."""

    name: str
    image: bytes
    labels: list[int]
    label_map: NotRequired[bytes]
    pairs: NotRequired[list[TextPair]]


class Source(NamedTuple):
    """An artifact in which each image of a training has a row of its name."""

    artifact: Artifact
    columns: tuple[str, ...] = ()
    """What the training takes of it; the first is not null."""


class Rows(NamedTuple):
    """The rows of a training as artifacts hold them, in the order of their names."""

    images: Artifact
    """Images, of which those are learnt from whose labels are known."""
    beside: tuple[Source, ...] = ()
    """Where each of them has a row too."""


def training_rows(experiment: Experiment, *beside: Source) -> Rows:
    """Find the images whose labels are known, and that have a row in other artifacts.

    Raises:
        ValueError: an artifact is not complete, or no label is known.
    """
    images = artifact(experiment, "images")
    images.require()
    for source in beside:
        source.artifact.require()
    labelled(images)
    return Rows(images, beside)


class Joiner:
    """Joins rows of `images` with those of the other artifacts."""

    def __init__(self, rows: Rows) -> None:
        """Read what names the shards of the other artifacts hold."""
        self._others = [(NameIndex(source.artifact), source.columns) for source in rows.beside]
        fields = [SCHEMAS["images"].field(name) for name in IMAGE_COLUMNS]
        for source in rows.beside:
            fields += [schema_of(source.artifact.name).field(name) for name in source.columns]
        self.schema = pa.schema(fields)

    def join(self, images: pa.Table) -> pa.Table:
        """Return the rows that a training learns from, with all columns that it takes."""
        for index, columns in self._others:
            images, found = self._both(images, index, columns)
            for name in columns:
                images = images.append_column(name, found[name])
        return images.filter(KNOWN).select(self.schema.names)

    def kept(self, images: pa.Table) -> pa.Table:
        """Return the same rows, without further columns."""
        for index, columns in self._others:
            images, _ = self._both(images, index, columns[:1])
        return images.filter(KNOWN)

    def _both(
        self, images: pa.Table, index: NameIndex, columns: tuple[str, ...]
    ) -> tuple[pa.Table, pa.Table]:
        """Rows that are here and in another artifact, of both; names are sorted in either."""
        found = index.look_up(images["name"].to_pylist(), ["name", *columns])
        for name in columns[:1]:
            found = found.filter(pads.field(name).is_valid())
        return images.filter(pads.field("name").isin(found["name"].combine_chunks())), found


def row_of(table: pa.Table, number: int) -> Row:
    """Take one row out of Arrow."""
    row: Any = table.slice(number, 1).to_pylist()[0]
    return row


def labels_of(rows: Rows) -> Iterator[pa.Table]:
    """Yield name and labels of all rows in their order, some thousand at a time."""
    joiner = Joiner(rows)
    for batch in batches_of(rows.images, ["name", "labels"], KNOWN, LABELS_AT_ONCE):
        yield joiner.kept(pa.Table.from_batches([batch]))


def save_rows(rows: Rows, path: Path) -> None:
    """Write the rows into an Arrow file, a few of them in memory at a time."""
    joiner = Joiner(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, joiner.schema) as writer:
        for batch in batches_of(rows.images, IMAGE_COLUMNS, KNOWN, ROW_GROUP):
            writer.write_table(joiner.join(pa.Table.from_batches([batch])))


def open_rows(path: Path) -> pa.Table:
    """Open the rows of such a file, which are read from disk when they are asked for.

    The file may lose its name meanwhile: its space is free once no process has the table.
    """
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
