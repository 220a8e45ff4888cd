import json
import os
import tarfile

import pyarrow as pa
import pytest
from PIL import Image as pil

from qaclims_ray.config.data import Folder, WebDataset
from qaclims_ray.ingest.readers import read
from tests.build import encode, put, tar


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "images" / "a.jpg", encode(pil.new("RGB", (4, 4)), "JPEG"))
    put(tmp_path / "labels.csv", "a.jpg,class 300\n")
    return tmp_path


def many(root, number):
    names = tuple(f"class {index}" for index in range(1, number + 1))
    return Folder(kind="folder", root=str(root), class_names=names)


def test_any_number_of_classes_will_do_without_masks(folder):
    assert read(many(folder, 300), "run").sources[0]["labels"] == [299]


def test_masks_hold_254_classes(folder):
    put(folder / "labels.csv", "a.jpg,class 3\n")
    put(folder / "masks" / "a.png", encode(pil.new("L", (4, 4))))
    assert read(many(folder, 254), "run").sources[0]["mask"]
    with pytest.raises(ValueError, match="at most 254 classes, the data set has 255"):
        read(many(folder, 255), "run")


def check_writable(listing):
    """Tables can hold all of it."""
    pa.Table.from_pylist(list(listing.sources))
    pa.Table.from_pylist([{"name": name, "reason": reason} for name, reason in listing.errors])
    names = [name for name, _ in listing.errors]
    assert len(set(names)) == len(names)


def test_a_file_whose_name_is_not_utf8_is_an_error_and_stops_no_other(folder):
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        (folder / "images" / os.fsdecode(name)).write_bytes(b"")
    listing = read(Folder(kind="folder", root=str(folder), unlabelled=True), "run")
    assert [source["name"] for source in listing.sources] == ["a"]
    check_writable(listing)
    name, reason = listing.errors[1]
    assert name.endswith("images/caf\\udce9.jpg")
    assert "is not UTF-8 text, as tables hold it: rename it" in reason


def test_members_of_a_tar_whose_names_are_not_utf8_are_errors(tmp_path):
    old = {"format": tarfile.GNU_FORMAT, "encoding": "latin-1"}
    names = ("été.jpg", "été.cls", "b.jpg", "b.cls")
    tar(tmp_path / "a.tar", [(name, "cat") for name in names], **old)
    listing = read(WebDataset(kind="webdataset", shards=str(tmp_path / "a.tar")), "run")
    assert [source["name"] for source in listing.sources] == ["b"]
    assert len(listing.errors) == 1
    check_writable(listing)


@pytest.mark.parametrize(
    "line",
    [
        {"image": "\ud83d.jpg", "labels": ["cat"]},
        {"image": "https://h/\ud83d.jpg", "labels": ["cat"]},
        {"image": "b.jpg", "labels": ["cat", "\ud83d"]},
        {"image": "b.jpg", "labels": ["cat"], "mask": "https://h/\ud83d.png"},
    ],
)
def test_half_a_character_makes_a_line_an_error(folder, line):
    for name in "ab":
        put(folder / "images" / f"{name}.jpg", b"")
    (folder / "labels.csv").unlink()
    lines = ({"image": "a.jpg", "labels": ["dog"]}, line)
    put(folder / "labels.jsonl", "\n".join(map(json.dumps, lines)))
    listing = read(Folder(kind="folder", root=str(folder)), "run")
    assert [source["name"] for source in listing.sources] == ["a"]
    assert len(listing.errors) == 1
    assert "\\ud83d" in listing.errors[0][1]
    check_writable(listing)


def test_half_a_character_in_labels_of_a_tar_is_an_error(tmp_path):
    tar(tmp_path / "a.tar", [("a.json", rb'["\ud83d"]'), ("a.jpg", b""), ("b.jpg", b"")])
    data = WebDataset(kind="webdataset", shards=str(tmp_path / "a.tar"), unlabelled=True)
    listing = read(data, "run")
    assert listing.class_names == ()
    assert len(listing.errors) == 1
    check_writable(listing)
