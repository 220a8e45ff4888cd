import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.train.buffer import as_bytes
from qaclims_ray.train.groups import GroupReader, image_bytes, survey
from qaclims_ray.train.rows import Rows, Source
from tests.build import write_artifact


def _row(number, **values):
    image = np.random.default_rng(number).bytes(1000 + 100 * number)
    row = {"name": f"i{number:02d}", "image": image, "height": 10, "width": 20, "labels": [0, 2]}
    return {**row, **values}


@pytest.fixture
def rows(tmp_path):
    """Twelve images in row groups of two; CAMs of most of them lie in groups of three."""
    images, cams = (Artifact(name, f"{tmp_path}/{name}", {}) for name in ("images", "clip_cams"))
    own = [_row(number) for number in range(12)]
    for number in (4, 5, 7):
        own[number]["labels"] = None
    own[11]["width"] = 30
    write_artifact(images, own[:8], own[8:], row_group_size=2)
    maps = [
        {
            "name": row["name"],
            "height": 10,
            "width": 20,
            "classes": [0, 2],
            "cam": np.random.default_rng(int(row["name"][1:])).bytes(2 * 2 * 30),
            "cam_height": 5,
            "cam_width": 6,
        }
        for row in own[1:]
    ]
    write_artifact(cams, maps[:5], maps[5:], row_group_size=3)
    return Rows(images, (Source(cams, ("height", "width", "classes", "cam", "cam_height")),))


def test_row_groups_are_counted_by_the_rows_that_are_learnt_from(rows):
    found = survey(rows)
    assert found.groups.counts.tolist() == [1, 2, 1, 2, 2]  # i00 has no CAMs; i04, i05, i07 …
    assert found.groups.places.tolist() == [0, 1, 3, 0, 1]
    assert found.groups.shards.tolist() == [0, 0, 0, 1, 1]
    assert (found.num_images, found.num_labels, found.num_sizes) == (8, 16, 2)
    assert survey(rows._replace(beside=())).groups.counts.tolist() == [2, 2, 1, 2, 2]


def test_what_is_read_fits_into_what_was_expected_closely(rows):
    found = survey(rows)
    reader = GroupReader(rows, found.groups)
    tables = [reader.read(number) for number in range(5)]
    names = [name for table in tables for name in table["name"].to_pylist()]
    assert names == ["i01", "i02", "i03", "i06", "i08", "i09", "i10", "i11"]
    assert tables[1]["cam"].to_pylist()[0] == np.random.default_rng(2).bytes(120)
    for table, size in zip(tables, found.groups.sizes, strict=True):
        assert table.nbytes < as_bytes(table).size <= size < table.nbytes + 40_000


def test_the_same_image_in_many_rows_takes_no_more_than_parquet_says(tmp_path):
    images = Artifact("images", f"{tmp_path}/images", {})
    write_artifact(images, [_row(number, image=bytes(20_000)) for number in range(64)])
    rows = Rows(images)
    found = survey(rows)
    (size,) = found.groups.sizes
    assert as_bytes(GroupReader(rows, found.groups).read(0)).size <= size < 40_000
    assert image_bytes(images).tolist() == [size]


def test_labels_of_many_classes_fit_too(tmp_path):
    images = Artifact("images", f"{tmp_path}/images", {})
    write_artifact(images, [_row(number, labels=[*range(500)]) for number in range(64)])
    rows = Rows(images)
    found = survey(rows)
    assert as_bytes(GroupReader(rows, found.groups).read(0)).size <= found.groups.sizes[0]


@pytest.fixture
def reader(rows):
    return GroupReader(rows, survey(rows).groups)


def _shard(rows, number):
    return Path(rows.images.uri, f"part-{number:05d}.parquet")


def test_a_shard_that_is_lost_while_training_is_named(rows, reader):
    reader.read(3)
    _shard(rows, 1).unlink()
    assert len(reader.read(0)) == 1
    with pytest.raises(ValueError, match=r"images/part-00001\.parquet: lost while a training"):
        reader.read(3)


@pytest.mark.parametrize("change", ["other images", "fewer row groups"])
def test_a_shard_that_changes_while_training_is_named(rows, reader, change):
    table = pq.read_table(_shard(rows, 1))
    if change == "other images":
        table = table.set_column(1, "image", [[image.as_py() + b"!" for image in table["image"]]])
    pq.write_table(table, _shard(rows, 1), row_group_size=2 if change == "other images" else 4)
    with pytest.raises(
        ValueError, match=r"images/part-00001\.parquet has changed while a tr.*--ov"
    ):
        reader.read(4)


def test_a_damaged_shard_is_named(rows, reader):
    content = bytearray(_shard(rows, 1).read_bytes())
    place = content.index(np.random.default_rng(9).bytes(100))
    content[place] ^= 1
    _shard(rows, 1).write_bytes(content)
    with pytest.raises(ValueError, match=r"part-00001\.parquet: OSError: .*CRC"):
        reader.read(3)


def test_rows_that_another_artifact_lost_are_noticed(rows, reader):
    cams = Path(rows.beside[0].artifact.uri, "part-00000.parquet")
    pq.write_table(pq.read_table(cams).slice(0, 1), cams)
    with pytest.raises(ValueError, match="0 of 2 images of a row group have a row in all"):
        reader.read(1)
    os.unlink(cams)
    with pytest.raises(ValueError, match=r"clip_cams/part-00000.*lost while a tr"):
        reader.read(1)
