"""What a URL says after its question mark, and users' passwords, stay where the user wrote them."""

from pathlib import Path

import pytest

from qaclims_ray.config.data import Folder, WebDataset
from qaclims_ray.ingest import stage
from qaclims_ray.ingest.readers import read
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.tables import read_errors
from tests.build import jpeg, photo, put, web_server

SECRET = "MARKED-SECRET"


@pytest.fixture
def url(tmp_path):
    """A web server with one good and one broken image."""
    put(tmp_path / "web" / "good.jpg", jpeg(photo(20, 30)))
    put(tmp_path / "web" / "broken.jpg", b"no image")
    with web_server(tmp_path / "web") as address:
        yield address


def folder(tmp_path, lines):
    signed = "".join(f"{url}?X-Signature={SECRET}%2F&a=1,{label}\n" for url, label in lines)
    put(tmp_path / "mine" / "labels.csv", signed)
    return {"kind": "folder", "root": str(tmp_path / "mine")}


def test_ingests_that_succeed_and_fail_tell_no_signature(
    local_ray, make_experiment, tmp_path, url, caplog, capfd
):
    caplog.set_level("DEBUG", "qaclims_ray")
    lines = [(f"{url}/{name}.jpg", "cat") for name in ("good", "broken", "missing")]
    data = folder(tmp_path, lines)
    experiment = make_experiment(tmp_path / "run", {"data": {**data, "max_missing": 1}})
    stage.run(experiment)
    errors = {
        row["name"]: row["reason"]
        for row in read_errors(artifact(experiment, "images")).to_pylist()
    }
    assert errors.keys() == {"broken", "missing"}
    assert f"{url}/missing.jpg?…" in errors["missing"]
    strict = make_experiment(tmp_path / "strict", {"data": {**data, "max_errors": 0}})
    with pytest.raises(ValueError, match=r"data\.max_errors") as error:
        stage.run(strict)
    written = [path for path in tmp_path.glob("*/images/**/*") if path.is_file()]
    assert len(written) > 4
    # What is still to be loaded must be known; it is removed with the finished work.
    told = [path for path in written if path.parent.name != "listing"]
    assert [path for path in told if SECRET.encode() in path.read_bytes()] == []
    assert not list(Path(tmp_path, "run").glob("images/**/listing/*"))
    said = capfd.readouterr()
    assert SECRET not in f"{error.value}{caplog.text}{said.out}{said.err}"


def test_what_the_whole_set_lacks_is_told_without_secrets(tmp_path):
    missing = f"https://user:{SECRET}@127.0.0.1:1/a.tar?sig={SECRET}"
    for data in (
        WebDataset(kind="webdataset", shards=missing),
        Folder(kind="folder", root=str(tmp_path), labels_file=missing.replace(".tar", ".csv")),
    ):
        with pytest.raises(ValueError, match=r"127\.0\.0\.1") as error:
            read(data, str(tmp_path))
        assert SECRET not in str(error.value)


def test_errors_that_differ_in_the_query_only_keep_names_of_their_own(tmp_path):
    put(tmp_path / "labels.csv", "https://h/?id=1,cat\n")
    put(tmp_path / "more.csv", "https://h/x.jpg?id=1,cat\nhttps://h/x.jpg?id=2,cat\n")
    data = Folder(kind="folder", root=str(tmp_path), labels_file="more.csv")
    listing = read(data, str(tmp_path))
    ((name, reason),) = listing.errors
    assert name == "x (image 2)"
    assert "https://h/x.jpg?…: the name 'x' is taken by https://h/x.jpg?…" in reason
