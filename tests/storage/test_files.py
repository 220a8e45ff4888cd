import os
import re
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from qaclims_ray.storage import files as storage


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    """A folder on disk, and one in a store that knows no rename."""
    return str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}"


def _names(folder):
    fs, path = fsspec.url_to_fs(folder)
    return sorted(name.rpartition("/")[2] for name in fs.find(path)) if fs.exists(path) else []


def test_local_paths_become_absolute_and_urls_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("runs/a/") == str(tmp_path / "runs" / "a")
    assert storage.absolute("s3://bucket/a/") == "s3://bucket/a"


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
        assert storage.find(f"{folder}/*.bin") == []
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
        assert storage.find(f"{tmp_path}/*.bin") == []


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


def test_found_files_are_sorted_and_can_be_read(folder):
    for name in ("b-2", "a-10", "b-10", "c"):
        storage.write_bytes(f"{folder}/{name}.bin", name.encode())
    found = storage.find(f"{folder}/b-*.bin")
    assert [storage.read_bytes(uri) for uri in found] == [b"b-10", b"b-2"]
    assert storage.find(f"{folder}/nowhere/*.bin") == []


@pytest.mark.parametrize("name", ["run [1]", "run?", "a b", "größe"])
def test_only_the_star_is_a_wildcard(tmp_path, name):
    folder = tmp_path / name
    storage.write_bytes(f"{folder}/part-1.bin", b"x")
    assert [os.path.basename(uri) for uri in storage.find(f"{folder}/part-*.bin")] == ["part-1.bin"]


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


class Flaky:
    """A call that fails a given number of times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls, self._failures, self._error = 0, failures, error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "done"


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", made.append)
    return made


@pytest.mark.parametrize(
    "error",
    [
        OSError(16, "Please reduce your request rate."),
        OSError(5, "An error occurred (ServiceUnavailable) when calling the PutObject operation"),
        OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation"),
        OSError('Could not connect to the endpoint URL: "https://x"'),
        ConnectionResetError("peer"),
        TimeoutError(),
        OSError("Read timeout on endpoint URL"),
    ],
)
def test_what_time_mends_is_tried_again_with_growing_pauses(pauses, error):
    call = Flaky(3, error)
    assert storage.patiently(call, "s3://b/a") == "done"
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    "error",
    [PermissionError("Access Denied"), OSError(28, "No space left"), OSError("NoSuchBucket")],
)
def test_what_time_does_not_mend_stops_at_once_with_path_and_cause(pauses, error):
    call = Flaky(1, error)
    with pytest.raises(ValueError, match=rf"^s3://b/a: {type(error).__name__}: .*{error.args[-1]}"):
        storage.patiently(call, "s3://b/a")
    assert (call.calls, pauses) == (1, [])


def test_patience_ends(pauses):
    with pytest.raises(ValueError, match="s3://b/a: TimeoutError: slow"):
        storage.patiently(Flaky(99, TimeoutError("slow")), "s3://b/a")
    assert sum(pauses) == 15.5


def test_a_missing_file_stays_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [("nosuch://bucket/a", "nosuch"), ("gs://bucket/a", "gcsfs"), ("az://bucket/a", "adlfs")],
)
def test_a_store_without_its_driver_names_the_package(uri, message):
    if message in ("gcsfs", "adlfs") and find_spec(message):
        pytest.skip("its driver is installed")
    with pytest.raises(ValueError, match=f"^{uri}: .*{message}"):
        storage.read_bytes(uri)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://b/a.jpg", "s3://b/a.jpg"),
        ("/data/what?.jpg", "/data/what?.jpg"),
        ("https://u:p@h/a b.jpg?sig=1%2F: HTTP 403", "https://h/a b.jpg?…: HTTP 403"),
        ("url='https://h/a?TOKEN', no", "url='https://h/a?…', no"),
        ("no answer (/v1/a?key=1)", "no answer (/v1/a?…)"),
        ("https://h/a.tar?sig=1#a.jpg:5+6: bad", "https://h/a.tar?…#a.jpg:5+6: bad"),
        ("caf\udce9/été.jpg: bad", "caf\\udce9/été.jpg: bad"),
    ],
)
def test_users_and_queries_are_not_shown_and_text_is_utf8(text, told):
    assert storage.shown(text) == told
    assert storage.shown(told) == told


def test_no_message_of_the_storage_holds_a_secret(pauses, caplog):
    caplog.set_level("INFO")
    uri = "https://me:PASS@h/a?sig=SIGN"
    with pytest.raises(ValueError, match="https://h/a") as error:
        storage.patiently(Flaky(99, TimeoutError(f"url={uri!r}")), uri)
    assert "tried again" in caplog.text
    assert not {"PASS", "SIGN"} & {*re.findall("PASS|SIGN", f"{error.value}{caplog.text}")}


@pytest.mark.parametrize(
    "text",
    [
        "Server disconnected",
        "Connection was closed before we received a valid response from endpoint URL",
        "Response payload is not completed",
        "[Errno -3] Temporary failure in name resolution",
        "[Errno 32] Broken pipe",
    ],
)
def test_a_connection_that_breaks_is_tried_again(text):
    assert storage.is_transient(RuntimeError(text))


def test_files_written_by_others_are_seen(folder):
    assert storage.find(f"{folder}/*.bin") == []
    fs, path = fsspec.url_to_fs(folder)
    fs.mkdirs(path, exist_ok=True)
    fs.pipe_file(f"{path}/new.bin", b"x")
    assert len(storage.find(f"{folder}/*.bin")) == 1
