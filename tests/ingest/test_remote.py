"""Readers over a real web server and over an fsspec store: lists, images, masks, tars, COCO."""

import json

import fsspec
import numpy as np
import pytest

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.ingest.coco14 import read_coco
from qaclims_ray.ingest.folder import read_folder
from qaclims_ray.ingest.sources import load
from qaclims_ray.ingest.voc12 import read_voc
from qaclims_ray.ingest.webdataset import read_webdataset
from qaclims_ray.storage.files import read_bytes, read_ranges
from qaclims_ray.storage.listing import existing
from tests.build import FileHandler, jpeg, photo, png, put, tar, web_server


class Server(FileHandler):
    """Files without lists of folders; parts of files unless below `whole`."""

    def list_directory(self, path):
        self.send_error(404)

    def do_GET(self):
        wanted = self.headers.get("Range")
        if wanted is None or "/whole/" in self.path:
            super().do_GET()
            return
        with open(self.translate_path(self.path), "rb") as file:
            content = file.read()
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        part = content[int(start) : int(end) + 1 if end else None]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        last = int(start) + len(part) - 1
        self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture(params=["http", "memory"])
def publish(request, tmp_path):
    """Gives the URL of a local folder."""
    if request.param == "memory":
        store = fsspec.filesystem("memory")

        def upload(folder):
            store.put(f"{folder}/", f"/{folder.name}/", recursive=True)
            return f"memory://{folder.name}"

        yield upload
        store.store.clear()
        return
    with web_server(tmp_path, Server) as url:
        yield lambda folder: f"{url}/{folder.relative_to(tmp_path)}"


@pytest.fixture
def image():
    return jpeg(photo(20, 30))


@pytest.fixture
def mask():
    return png(np.full((20, 30), 1, np.uint8))


def rows(listing):
    return {
        row["name"]: row
        for row in (load(s, num_classes=len(listing.class_names)) for s in listing.sources)
    }


def test_a_folder(tmp_path, image, mask, publish):
    root = tmp_path / "mine"
    for path in ("images/a.jpg", "images/sub/b.jpg", "images/c.jpg"):
        put(root / path, image)
    for path in ("masks/sub/b.png", "masks/other.png"):
        put(root / path, mask)
    put(root / "labels.csv", "image,labels,mask\na.jpg,cat,other.png\nsub/b.jpg,cat;dog\n")
    listing = read_folder(publish(root))
    assert listing.errors == []
    found = rows(listing)
    assert {name: row["labels"] for name, row in found.items()} == {"a": [0], "sub__b": [0, 1]}
    assert all(set(np.unique(decode_mask(row["mask"]))) == {1} for row in found.values())


def test_a_list_on_the_web_names_local_images(tmp_path, image, publish):
    put(tmp_path / "lists" / "some.jsonl", '{"image": "a.jpg", "labels": ["cat"]}')
    url = publish(tmp_path / "lists")
    put(tmp_path / "here" / "images" / "a.jpg", image)
    listing = read_folder(str(tmp_path / "here"), labels_file=f"{url}/some.jsonl")
    assert list(rows(listing)) == ["a"]


def test_a_missing_image_of_a_web_list_is_recorded_when_loaded(tmp_path, publish):
    put(tmp_path / "mine" / "labels.csv", "../x.jpg,cat\nnone.jpg,cat\n")
    listing = read_folder(publish(tmp_path / "mine"))
    assert len(listing.errors) + len(listing.sources) == 2
    for source in listing.sources:
        with pytest.raises(ValueError, match=r"none\.jpg: file not found"):
            load(source, num_classes=1)


def test_voc_and_its_list(voc, publish, tmp_path):
    # The fixture's root is the folder that is served.
    (tmp_path / "world").mkdir()
    for part in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets"):
        (voc / part).rename(tmp_path / "world" / part)
    url = publish(tmp_path / "world")
    for split in ("train", f"{url}/ImageSets/Segmentation/train.txt"):
        found = rows(read_voc(url, split))
        assert list(found) == ["a", "b", "c"]
        assert [name for name, row in found.items() if row["mask"] is not None] == ["a"]


def test_tars(tmp_path, image, mask, publish):
    members = [("0.jpg", image), ("0.cls", b"cat"), ("0.seg.png", mask)]
    tar(tmp_path / "tars" / "00.tar", members)
    found = rows(read_webdataset([f"{publish(tmp_path / 'tars')}/{{00..00}}.tar"]))
    assert found["0"]["image"] == image
    assert found["0"]["mask"] is not None


def test_coco(tmp_path, image, publish):
    box = {"segmentation": [[0, 0, 30, 0, 30, 10, 0, 10]], "category_id": 2, "image_id": 7}
    about = {"id": 7, "file_name": "七.jpg", "height": 20, "width": 30}

    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": [about], "annotations": [box, box], "categories": categories}
    text = json.dumps(content, ensure_ascii=False)
    put(tmp_path / "coco" / "mine.json", text)
    put(tmp_path / "coco" / "pictures" / "七.jpg", image)
    listing = read_coco(
        publish(tmp_path / "coco"), "val", annotations="mine.json", images="pictures"
    )
    (row,) = rows(listing).values()
    assert row["name"] == "七"
    assert (decode_mask(row["mask"]) == 2).sum() == 300


def test_what_is_there(tmp_path, publish):
    put(tmp_path / "some" / "a.png", b"x")
    url = publish(tmp_path / "some")
    assert existing([f"{url}/a.png", f"{url}/b.png"]) == {f"{url}/a.png"}


@pytest.mark.parametrize("publish", ["http"], indirect=True)
def test_a_server_without_parts_of_files_is_named(tmp_path, publish):
    put(tmp_path / "whole" / "a.tar", b"x" * 1000)
    url = publish(tmp_path / "whole")
    assert len(read_bytes(f"{url}/a.tar")) == 1000
    with pytest.raises(ValueError, match=r"a\.tar: its server does not hand out parts of files"):
        read_ranges(f"{url}/a.tar", [(100, 50)])
