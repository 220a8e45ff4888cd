"""What is complete is whole."""

import os
import random
from pathlib import Path

import pytest

from qaclims_ray.run import artifact as module
from qaclims_ray.run.artifact import COMPLETE, own_artifact
from qaclims_ray.run.contents import list_contents
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make, verify
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import dataset, read_table
from qaclims_ray.storage.files import read_json, write_bytes, write_json
from tests.build import write_artifact

PIXELS = random.Random(0).randbytes(5000)  # nothing that is compressed


def _row(name: str) -> dict:
    return {"name": name, "image": PIXELS, "height": 2, "width": 3, "labels": [0], "mask": None}


@pytest.fixture
def images(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run")
    target = own_artifact(experiment, "images")
    shards = [[_row("a"), _row("b")], [_row("c")], [_row("d")]]
    write_artifact(target, *shards, facts={"class_names": ["cat"]}, errors={"e": "torn"})
    return experiment, target


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_the_manifest_lists_files_with_rows_bytes_and_digest(images):
    _, target = images
    files = target.require()["files"]
    parts = [f"part-0000{number}.parquet" for number in range(3)]
    assert [file["name"] for file in files] == ["_errors/part-00000.parquet", *parts]
    assert [file["rows"] for file in files] == [1, 2, 1, 1]
    for file in files:
        assert file["bytes"] == Path(target.uri, file["name"]).stat().st_size
        assert len(file["digest"]) == 64
    assert files[2]["digest"] != files[3]["digest"]


def test_an_artifact_without_the_list_is_read_as_before(images):
    experiment, target = images
    manifest = read_json(f"{target.uri}/{COMPLETE}")
    del manifest["files"]
    write_json(f"{target.uri}/{COMPLETE}", manifest)
    assert read_table(target)["name"].to_pylist() == ["a", "b", "c", "d"]
    assert "without digests" in verify(experiment)[0]


@pytest.mark.parametrize("file", ["part-00001.parquet", "_errors/part-00000.parquet"])
@pytest.mark.parametrize("read", [class_names, read_table, dataset, lambda one: one.is_complete()])
def test_a_lost_file_is_named_by_whoever_opens_the_artifact(images, file, read):
    _, target = images
    Path(target.uri, file).unlink()
    with pytest.raises(ValueError, match=rf"images is damaged, 1 of 4 files: {file} is missing"):
        read(target)


def test_a_file_cut_short_is_named(images):
    experiment, target = images
    path = Path(target.uri, "part-00002.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"part-00002\.parquet has [\d,]+ bytes in place of"):
        make(experiment, "images", lambda _: Built(0, 0, {}), overwrite=False)


def test_flipped_bytes_in_pages_are_found(images):
    experiment, target = images
    assert verify(experiment)[0].startswith("images: 4 files, ")
    path = Path(target.uri, "part-00000.parquet")
    _flip(path, path.read_bytes().index(PIXELS[:20]) + 2000)
    with pytest.raises(ValueError, match=r"1 of 4 files: part-00000\.parquet has other bytes"):
        read_table(target)
    with pytest.raises(ValueError, match=r"1 of 4 files: part-00000\.parquet has other bytes"):
        verify(experiment)


def test_verify_names_every_damaged_artifact_and_the_sound_ones(images):
    experiment, target = images
    scores = own_artifact(experiment, "scores")
    write_json(f"{scores.uri}/scores.json", {"best": {"miou": 41.5}})
    write_artifact(scores, [])
    write_artifact(own_artifact(experiment, "corpus"), [{"name": "a", "answers": []}])
    Path(target.uri, "part-00002.parquet").unlink()
    _flip(Path(scores.uri, "scores.json"), 25)
    with pytest.raises(ValueError, match="damaged") as caught:
        verify(experiment)
    bad, good, worse = str(caught.value).splitlines()
    assert bad.startswith("images: ")
    assert "part-00002.parquet is missing" in bad
    assert good.startswith("corpus: 1 files, ")
    assert "2 files: scores.json has other bytes" in worse


def test_flipped_bytes_in_weights_are_found_before_they_are_used(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run")

    def build(target):
        write_bytes(f"{target.uri}/model.safetensors", b"weights")
        return Built(0, 0, {})

    make(experiment, "classifier", build, overwrite=False)
    target = own_artifact(experiment, "classifier")
    target.require()
    _flip(Path(target.uri, "model.safetensors"), 3)
    with pytest.raises(ValueError, match=r"1 of 1 files: model\.safetensors has other bytes"):
        target.require()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_marker_is_named_and_can_be_made_anew(images, content):
    experiment, target = images
    write_bytes(f"{target.uri}/{COMPLETE}", content)
    with pytest.raises(ValueError, match=r"images/_COMPLETE\.json is damaged.*--overwrite"):
        target.is_complete()
    make(experiment, "images", lambda _: Built(0, 0, {}), overwrite=True)
    assert target.require()["files"] == []


def test_the_marker_is_on_disk_before_it_appears(images, monkeypatch):
    _, target = images
    marker, synced = Path(target.uri, COMPLETE), []
    marker.unlink()
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(marker.exists()))
    monkeypatch.setattr(module, "list_contents", lambda *_: [])
    target.complete(Built(4, 1, {}), 1.0, {})
    assert synced == [False]
    assert marker.exists()


def test_nothing_is_listed_where_there_is_no_folder(tmp_path):
    assert list_contents(str(tmp_path / "none")) == []
