import pickle
import re
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

import qaclims_ray
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.run.tables import dataset, look_up, read_errors, read_table
from qaclims_ray.storage.parquet import open_parquet, read_footers, read_parquet

SCHEMA = pa.schema([("name", pa.string()), ("size", pa.int32())])


class _Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, secret: Path) -> None:
        self.secret = secret

    def __reduce__(self):
        return Path.write_text, (self.secret, "code ran")


@pytest.fixture
def hostile(tmp_path):
    """A table of Ray's pickled objects, and the file that reading it would write."""
    secret = tmp_path / "secret"
    pickled = pa.array([pickle.dumps(_Hostile(secret))], pa.large_binary())
    column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), pickled)
    return pa.table(dict.fromkeys(("name", "answers", "reason"), column)), secret


def test_the_hostile_table_would_run_code(hostile, tmp_path):
    table, secret = hostile
    pq.write_table(table, tmp_path / "rows.parquet")
    pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert secret.read_text() == "code ran"


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.list_(pa.int32())])
def test_pickled_objects_are_not_loaded(hostile, tmp_path, kind):
    table, secret = hostile
    path = str(tmp_path / "rows.parquet")
    pq.write_table(table, path)
    assert read_footers([path])[0] is not None
    with suppress(ValueError):  # the bytes are neither UTF-8 nor a list
        read_parquet(path, pa.schema([("name", kind)])).to_pylist()
    assert not secret.exists()


@pytest.mark.parametrize(
    "read",
    [
        read_table,
        read_errors,
        lambda corpus: look_up(corpus, ["a"], ["name", "answers"]),
        lambda corpus: pa.Table.from_batches(dataset(corpus).to_batches()),
    ],
)
def test_a_corpus_that_somebody_shares_runs_no_code(hostile, tmp_path, read):
    table, secret = hostile
    for part in ("part-00000.parquet", "_errors/part-00000.parquet"):
        path = tmp_path / "corpus" / part
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
    corpus = Artifact("corpus", str(tmp_path / "corpus"), {})
    with pytest.raises((pa.ArrowException, ValueError)):
        read(corpus).to_pylist()
    assert not secret.exists()


def test_columns_are_cast_and_lacking_ones_are_null(tmp_path):
    """Artifacts of earlier versions."""
    pq.write_table(pa.table({"more": [1, 2], "name": ["a", "b"]}), tmp_path / "old.parquet")
    pq.write_table(pa.table({"size": pa.array([7], pa.int64())}), tmp_path / "wide.parquet")
    paths = [str(tmp_path / file) for file in ("old.parquet", "wide.parquet")]
    assert read_parquet(paths[0], SCHEMA).to_pylist() == [
        {"name": "a", "size": None},
        {"name": "b", "size": None},
    ]
    assert open_parquet(paths, SCHEMA).to_table()["size"].to_pylist() == [None, None, 7]
    assert open_parquet([], SCHEMA).to_table().schema == SCHEMA


def test_rows_are_read_in_one_place():
    package = Path(qaclims_ray.__file__).parent
    others = set(package.rglob("*.py")) - {package / "storage" / "parquet.py"}
    reads = re.compile(r"pyarrow\.parquet|pads\.(dataset|parquet|FileSystem)|get_fragments|feather")
    assert [str(file) for file in sorted(others) if reads.search(file.read_text())] == []
