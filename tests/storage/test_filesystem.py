import re
from importlib.util import find_spec

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from qaclims_ray.storage import filesystem as storage
from qaclims_ray.storage.files import read_bytes, write_bytes


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


@pytest.mark.parametrize(
    ("uri", "message"),
    [("nosuch://bucket/a", "nosuch"), ("gs://bucket/a", "gcsfs"), ("az://bucket/a", "adlfs")],
)
def test_a_store_without_its_driver_names_the_package(uri, message):
    if message in ("gcsfs", "adlfs") and find_spec(message):
        pytest.skip("its driver is installed")
    with pytest.raises(ValueError, match=f"^{uri}: .*{message}"):
        read_bytes(uri)


def test_a_remote_file_is_opened_without_asking_first_whether_it_is_one(monkeypatch):
    asked, is_file = [], MemoryFileSystem.isfile

    def noted(self, path):
        asked.append(path)
        return is_file(self, path)

    fs, path = storage.arrow_filesystem("memory://folder/a.bin")
    write_bytes("memory://folder/a.bin", b"content")
    monkeypatch.setattr(MemoryFileSystem, "isfile", noted)
    assert fs.open_input_file(path).read() == b"content"
    with pytest.raises(FileNotFoundError):
        fs.open_input_file("/folder/b.bin")
    assert path not in asked
    MemoryFileSystem.store.clear()
