import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.train.rows import open_rows, save_rows, training_rows


def test_the_mapped_rows_are_those_of_the_artifact(demo_run, tmp_path):
    save_rows(training_rows(demo_run, "classifier"), tmp_path / "rows")
    expected = read_table(artifact(demo_run, "images"), ["name", "image", "labels"])
    assert open_rows(tmp_path / "rows").combine_chunks().equals(expected.combine_chunks())


def test_the_rows_outlive_their_file(demo_run, tmp_path):
    save_rows(training_rows(demo_run, "cam_net"), tmp_path / "rows")
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
    schema = pa.schema(
        [("name", pa.string()), ("image", pa.binary()), ("labels", pa.list_(pa.int32()))]
    )
    expected = {row["name"]: row["image"] for row in rows}
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "part.parquet", row_group_size=16)
    held = pa.total_allocated_bytes()
    save_rows(pads.dataset(tmp_path / "part.parquet"), tmp_path / "rows")
    table = open_rows(tmp_path / "rows")
    assert table["name"].to_pylist() == sorted(expected)
    for row in rng.permutation(400):
        assert table["image"][row].as_py() == expected[f"{row:03d}"]
    assert pa.total_allocated_bytes() - held < 40e6
