import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.blocks import BlockProgress, work_schema
from qaclims_ray.storage.files import write_bytes

ANSWER = {"label": 0, "kind": "fg", "question": "?", "answer": "a", "lemma": "a"}


@pytest.fixture
def target(tmp_path):
    return Artifact("corpus", str(tmp_path / "corpus"), {})


def _block(target, name, rows):
    folder = target.work + "/rows"
    write_bytes(f"{folder}/{name}.parquet", b"half")
    table = pa.Table.from_pylist(rows, schema=work_schema("corpus"))
    pq.write_table(table, f"{folder}/{name}.parquet")


def test_rows_errors_and_answers_are_counted_once_as_blocks_appear(target):
    written = BlockProgress(target, "answers")
    assert written() == 0
    _block(target, "a", [{"name": "1", "answers": [ANSWER] * 3}, {"name": "2", "error": "torn"}])
    assert written() == written() == 2
    _block(target, "b", [{"name": "3", "answers": []}, {"name": "4", "answers": [ANSWER]}])
    assert written() == 4
    assert written.detail(2.0) == "2.0 answers/s, 1 errors"


def test_what_was_there_at_first_counts_for_no_rate(target):
    _block(target, "a", [{"name": "1", "answers": [ANSWER] * 3}])
    written = BlockProgress(target, "answers")
    assert written() == 1
    assert written.detail(1.0) == "0.0 answers/s, 0 errors"


def test_a_file_that_is_half_written_counts_once_it_is_whole(target):
    write_bytes(f"{target.work}/rows/a.parquet", b"PAR1 half")
    written = BlockProgress(target)
    assert written() == 0
    _block(target, "a", [{"name": "1", "answers": []}])
    assert written() == 1
    assert written.detail(1.0) == "0 errors"


def test_blocks_without_rows_count_for_nothing(target):
    """As a listing without errors left one; Parquet keeps no statistics of them."""
    written = BlockProgress(target, "answers")
    _block(target, "listing", [])
    assert written() == 0
    _block(target, "a", [{"name": "1", "answers": [ANSWER]}])
    assert written() == 1
    assert written.detail(1.0) == "1.0 answers/s, 0 errors"
