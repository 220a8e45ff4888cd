import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from qaclims_ray.storage import files as storage
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.storage.listing import find
from qaclims_ray.storage.parquet import write_parquet
from qaclims_ray.storage.paths import member


def _names(folder):
    fs, path = fsspec.url_to_fs(folder)
    return sorted(name.rpartition("/")[2] for name in fs.find(path)) if fs.exists(path) else []


def test_what_was_written_is_read(folder):
    storage.write_json(f"{folder}/deep/er.json", {"a": [1, "ß"]})
    assert storage.read_json(f"{folder}/deep/er.json") == {"a": [1, "ß"]}
    storage.write_bytes(f"{folder}/deep/er.bin", b"\0\1")
    storage.write_bytes(f"{folder}/deep/er.bin", b"\2")
    assert storage.read_bytes(f"{folder}/deep/er.bin") == b"\2"
    assert _names(folder) == ["er.bin", "er.json"]


def test_no_file_reads_as_none(folder):
    assert storage.read_json(f"{folder}/absent.json") is None


def test_nothing_is_found_under_the_name_before_the_end(folder):
    uri = f"{folder}/part.bin"
    with storage.atomic_open(uri) as file:
        file.write(b"first")
        file.flush()
        assert find(f"{folder}/*.bin") == []
        file.write(b" second")
    assert storage.read_bytes(uri) == b"first second"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_a_file_may_be_called(folder, name):
    storage.write_bytes(f"{folder}/{name}", b"x")
    assert _names(folder) == [name]


def test_what_is_half_written_is_hidden(tmp_path):
    with storage.atomic_open(str(tmp_path / "part.bin")):
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(".")
        assert find(f"{tmp_path}/*.bin") == []


def _write_half(uri):
    with storage.atomic_open(uri) as file:
        file.write(b"half")
        raise KeyError


def test_an_exception_leaves_nothing_behind(folder):
    with pytest.raises(KeyError):
        _write_half(f"{folder}/part.bin")
    assert _names(folder) == []


def test_an_exception_leaves_the_former_file_whole(folder):
    storage.write_bytes(f"{folder}/part.bin", b"whole")
    with pytest.raises(KeyError):
        _write_half(f"{folder}/part.bin")
    assert storage.read_bytes(f"{folder}/part.bin") == b"whole"
    assert _names(folder) == ["part.bin"]


def test_removal_takes_files_and_folders_and_does_not_mind_nothing(folder):
    storage.write_bytes(f"{folder}/a/b/c.bin", b"x")
    storage.write_bytes(f"{folder}/d.bin", b"x")
    storage.remove(f"{folder}/a")
    assert _names(folder) == ["d.bin"]
    storage.remove(f"{folder}/d.bin")
    storage.remove(f"{folder}/d.bin")
    assert _names(folder) == []


def test_writing_makes_missing_folders(tmp_path: Path):
    storage.write_bytes(str(tmp_path / "x" / "y" / "z"), b"1")
    assert (tmp_path / "x" / "y" / "z").read_bytes() == b"1"


def test_a_missing_file_stays_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "absent"))


@pytest.mark.parametrize("name", ["a::b.bin", "~", "a#b:1+2", "[a]*?"])
def test_any_name_is_written_found_and_read(tmp_path, name):
    write_bytes(f"{tmp_path}/{name}", b"x")
    assert find(f"{tmp_path}/*") == [f"{tmp_path}/{name}"]
    assert storage.read_bytes(f"{tmp_path}/{name}") == b"x"


def test_parts_of_files_and_members_are_read_by_their_range(folder):
    uri = f"{folder}/some.tar"
    write_bytes(uri, b"0123456789")
    assert storage.read_ranges(uri, [(7, 2), (0, 3), (4, 0)]) == [b"78", b"012", b""]
    assert storage.read_bytes(member(uri, "a#b.jpg", 2, 4)) == b"2345"
    with storage.open_stream(uri) as file:
        assert (file.read(2), file.read()) == (b"01", b"23456789")
    with pytest.raises(ValueError, match=r"some\.tar: cut off, bytes 8 to 12 are missing"):
        storage.read_ranges(uri, [(8, 4)])


def test_a_missing_file_is_a_users_mistake_and_an_expected_one(folder):
    for read in (storage.read_bytes, lambda uri: storage.read_ranges(uri, [(0, 1)])):
        with pytest.raises(
            storage.MissingFileError, match=r"absent: (No such file|file not found)"
        ):
            read(f"{folder}/absent")
    assert issubclass(storage.MissingFileError, ValueError)
    broken, good = storage.read_all([f"{folder}/absent", __file__])
    assert isinstance(broken, ValueError)
    assert b"def test_" in good


def test_what_would_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="not a file"):
            storage.read_bytes(str(path))


@pytest.mark.parametrize(
    "write",
    [
        lambda uri: write_bytes(uri, b"x", durable=True),
        lambda uri: write_json(uri, {}),
        lambda uri: write_parquet(pa.table({"a": [1]}), uri),
    ],
)
def test_what_a_marker_vouches_for_is_on_disk_before_it_appears(tmp_path, monkeypatch, write):
    path, synced = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.exists()))
    write(str(path))
    assert synced == [False]
    assert path.exists()
