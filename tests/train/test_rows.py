from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qaclims_ray.run.artifact import Artifact, artifact, own_artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import write_json
from qaclims_ray.train.rows import (
    Rows,
    Source,
    labels_of,
    open_rows,
    save_rows,
    training_rows,
)
from qaclims_ray.train.task import TRAININGS
from tests.build import relist, write_artifact


def test_the_mapped_rows_are_those_of_the_artifact(demo_run, tmp_path):
    save_rows(TRAININGS["classifier"].rows(demo_run), tmp_path / "rows")
    expected = read_table(artifact(demo_run, "images"), ["name", "image", "labels"])
    assert open_rows(tmp_path / "rows").combine_chunks().equals(expected.combine_chunks())


def test_the_rows_outlive_their_file(demo_run, tmp_path):
    save_rows(TRAININGS["cam_net"].rows(demo_run), tmp_path / "rows")
    table = open_rows(tmp_path / "rows")
    (tmp_path / "rows").unlink()
    images = table["image"].to_pylist()
    assert images == read_table(artifact(demo_run, "images"), ["image"])["image"].to_pylist()


def test_a_table_larger_than_what_may_be_held_takes_no_memory(tmp_path):
    """400 images of 250 kB, 100 MB in all, looked up at random."""
    rng = np.random.default_rng(0)
    rows = [
        {"name": f"{number:03d}", "image": rng.bytes(250_000), "labels": [number % 3]}
        for number in range(400)
    ]
    images = Artifact("images", f"{tmp_path}/images", {})
    expected = {row["name"]: row["image"] for row in rows}
    write_artifact(images, rows, row_group_size=16)
    held = pa.total_allocated_bytes()
    save_rows(Rows(images), tmp_path / "rows")
    table = open_rows(tmp_path / "rows")
    assert table["name"].to_pylist() == sorted(expected)
    for row in rng.permutation(400):
        assert table["image"][row].as_py() == expected[f"{row:03d}"]
    assert pa.total_allocated_bytes() - held < 40e6


def test_images_without_a_row_in_the_other_artifact_are_left_out(demo_run, tmp_path):
    fewer = demo_run.with_overrides({"run": str(tmp_path), "base": [demo_run.run]})
    own, pairs = own_artifact(fewer, "pairs"), read_table(artifact(demo_run, "pairs"))
    Path(own.uri).mkdir()
    pq.write_table(pairs.slice(2), f"{own.uri}/part-00000.parquet")
    write_json(f"{own.uri}/_COMPLETE.json", artifact(demo_run, "pairs").manifest())
    relist(own)
    names = pairs["name"].to_pylist()
    for beside, expected in (([Source(own)], names[2:]), ([], names)):
        rows = training_rows(fewer, *beside)
        assert pa.concat_tables(labels_of(rows))["name"].to_pylist() == expected


def test_label_maps_come_with_the_images_of_their_names(demo_run, tmp_path):
    """Label maps lie in files of their own, cut elsewhere than those of the images."""
    images = artifact(demo_run, "images")
    names = read_table(images, ["name"])["name"].to_pylist()
    for number, part in enumerate((names[:3], names[3:])):
        rows = [{"name": name, "label_map": f"map of {name}".encode()} for name in part]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"part-{number:05d}.parquet")
    seeds = Source(Artifact("seeds", str(tmp_path), {}), ("label_map",))
    save_rows(Rows(images, (seeds,)), tmp_path / "rows")
    table = open_rows(tmp_path / "rows")
    assert table.column_names == ["name", "image", "labels", "label_map"]
    assert table["name"].to_pylist() == names
    assert table["label_map"].to_pylist() == [f"map of {name}".encode() for name in names]
