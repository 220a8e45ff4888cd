from pathlib import Path

import pyarrow as pa
import pytest

from qaclims_ray.run.artifact import COMPLETE
from qaclims_ray.run.contents import list_contents
from qaclims_ray.run.publish import publish
from qaclims_ray.run.tables import NameIndex, batches_of, frequent_reasons, look_up, read_table
from qaclims_ray.storage.files import write_bytes, write_json
from tests.build import manifest
from tests.run.finished import image_row, target_at, write_blocks


def test_reasons_that_differ_in_their_row_only_are_counted_together():
    cut = "OSError: /x/{}.jpg: cut off"
    rows = [("a", cut.format("a")), ("b", "no mask"), ("c", cut.format("c"))]
    rows.append(("c__c", cut.format("c/c")))
    errors = pa.table({"key": [key for key, _ in rows], "error": [why for _, why in rows]})
    most = ["3 rows, as a: OSError: /x/a.jpg: cut off", "b: no mask"]
    assert frequent_reasons(errors) == most


class TestReading:
    @pytest.fixture
    def target(self, tmp_path):
        target = write_blocks(
            target_at(tmp_path), [[image_row(f"{i:03d}", 100 + i) for i in range(150)]]
        )
        publish(target, shard_megabytes=0.01, max_errors=0)
        assert len(target.shards()) > 1
        return target

    def test_all_rows_in_order_and_only_the_columns_wanted(self, target):
        table = read_table(target, ["name", "labels"])
        assert table.schema.names == ["name", "labels"]
        assert table["name"].to_pylist() == [f"{i:03d}" for i in range(150)]
        assert read_table(target).num_columns == 6

    def test_rows_are_looked_up_by_name_in_order(self, target):
        table = look_up(target, ["149", "003", "absent", "070"], ["name", "image"])
        assert table["name"].to_pylist() == ["003", "070", "149"]
        assert [len(image) for image in table["image"].to_pylist()] == [103, 170, 249]
        assert look_up(target, [], ["name"]).num_rows == 0

    def test_a_look_up_opens_no_shard_that_cannot_hold_a_name(self, target):
        files = list_contents(target.uri)
        write_json(f"{target.uri}/{COMPLETE}", manifest(target.name, files=files))
        index, last = NameIndex(target), target.shards()[-1]
        size = Path(last).stat().st_size
        Path(last).write_bytes(bytes(size))
        found = index.look_up({"000", "absent", "002"}, ["name"])
        assert found["name"].to_pylist() == ["000", "002"]
        assert index.look_up(["zebra", ""], ["name", "labels"]).schema.names == ["name", "labels"]
        with pytest.raises(ValueError, match="magic bytes"):
            index.look_up(["149"], ["name"])

    def test_files_beside_the_shards_are_not_read(self, target):
        write_bytes(f"{target.uri}/_errors/part-00000.parquet", b"no rows of this artifact")
        assert read_table(target, ["name"]).num_rows == 150

    def test_a_shard_that_is_damaged_is_named_by_those_who_read_it(self, target):
        files = list_contents(target.uri)
        write_json(f"{target.uri}/{COMPLETE}", manifest(target.name, files=files))
        last = Path(target.shards()[-1])
        last.write_bytes(bytes(last.stat().st_size))
        with pytest.raises(ValueError, match=f"{last.name} has other bytes"):
            list(batches_of(target, ["name"]))
