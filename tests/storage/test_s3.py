"""Storage on a real S3 server that now and then refuses a request."""

import pyarrow as pa
import pytest

from qaclims_ray.storage import files as storage
from qaclims_ray.storage.listing import existing, find, glob, list_files
from qaclims_ray.storage.parquet import read_parquet, write_parquet
from qaclims_ray.storage.paths import member
from tests.build import make_bucket, s3_server


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with (
        s3_server(tmp_path_factory.mktemp("s3"), every=10) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, value in environment.items():
            patch.setenv(key, value)
        yield make_bucket()


def test_files_are_written_found_read_and_removed(bucket):
    names = ["a.jpg", "sub/b.jpg", "sub/c.bin", ".git/d.jpg"]
    for name in names:
        storage.write_bytes(f"{bucket}/mine/{name}", name.encode())
    assert list_files(f"{bucket}/mine") == ["a.jpg", "sub/b.jpg", "sub/c.bin"]
    assert list_files(f"{bucket}/absent") == []
    assert find(f"{bucket}/mine/sub/*.jpg") == [f"{bucket}/mine/sub/b.jpg"]
    assert glob(f"{bucket}/mine/sub/[bc].*") == [
        f"{bucket}/mine/sub/{name}" for name in ("b.jpg", "c.bin")
    ]
    uris = [f"{bucket}/mine/{name}" for name in names]
    assert storage.read_all(uris) == [name.encode() for name in names]
    assert existing([*uris[:3], f"{bucket}/mine/x"]) == set(uris[:3])
    assert storage.size(uris[1]) == 9
    storage.remove(f"{bucket}/mine/sub")
    assert list_files(f"{bucket}/mine") == ["a.jpg"]


def test_parts_are_read_by_their_range_and_json_is_read(bucket):
    uri = f"{bucket}/some.tar"
    storage.write_bytes(uri, b"0123456789")
    assert storage.read_ranges(uri, [(7, 2), (0, 3)]) == [b"78", b"012"]
    assert storage.read_bytes(member(uri, "a.jpg", 2, 4)) == b"2345"
    with storage.open_stream(uri) as file:
        assert (file.read(2), file.read()) == (b"01", b"23456789")
    storage.write_json(f"{bucket}/a.json", {"a": 1})
    assert storage.read_json(f"{bucket}/a.json") == {"a": 1}
    assert storage.read_json(f"{bucket}/absent.json") is None


def test_what_is_missing_is_named(bucket):
    with pytest.raises(storage.MissingFileError, match=f"^{bucket}/absent: "):
        storage.read_bytes(f"{bucket}/absent")
    with pytest.raises(ValueError, match=r"s3://nosuch/a: .*bucket does not exist"):
        storage.write_bytes("s3://nosuch/a", b"")


def test_a_file_is_read_without_asking_for_its_size(bucket, monkeypatch):
    storage.write_bytes(f"{bucket}/a.jpg", b"a")
    fs, _ = storage.filesystem(bucket)
    monkeypatch.setattr(fs, "_size", None)
    assert storage.read_bytes(f"{bucket}/a.jpg") == b"a"


def test_a_table_is_read_by_one_request(bucket, monkeypatch):
    table, uri = (
        pa.table({"b": ["x", "y"], "a": pa.array([1, 2], pa.int32())}),
        f"{bucket}/a.parquet",
    )
    write_parquet(table, uri)
    fs, _ = storage.filesystem(uri)
    monkeypatch.setattr(fs, "_info", None)
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.string())])
    expected = {"a": [1, 2], "b": ["x", "y"], "c": [None, None]}
    assert read_parquet(uri, schema) == pa.table(expected, schema=schema)
    with pytest.raises(storage.MissingFileError, match=f"^{bucket}/absent"):
        read_parquet(f"{bucket}/absent", schema)
    storage.write_bytes(uri, b"no table")
    with pytest.raises(ValueError, match=f"^{uri}: .*magic bytes"):
        read_parquet(uri, schema)
