import json
import os
from functools import partial
from hashlib import sha256

import pytest

from qaclims_ray.config.data import Coco14, Demo, Folder, Voc12
from qaclims_ray.ingest import fingerprint as fingerprint_of
from qaclims_ray.ingest.fingerprint import changes, fingerprint
from qaclims_ray.storage.files import write_bytes
from tests.build import put


@pytest.fixture
def folder(tmp_path):
    for name in ("images/a.jpg", "labels.csv", "classes.txt", "masks/sub/a.png"):
        put(tmp_path / name, b"1")
    return Folder(kind="folder", root=str(tmp_path)), tmp_path


def _after(data, change):
    before = fingerprint(data)
    assert changes(before, fingerprint(data)) == []
    change()
    return changes(before, fingerprint(data))


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("labels.csv", ["labels"]),
        ("labels.jsonl", ["labels"]),
        ("classes.txt", ["classes"]),
        ("masks/sub/a.png", ["masks"]),
        ("masks/b.png", ["masks"]),
        ("images/b.jpg", []),
    ],
)
def test_it_says_what_of_a_folder_changed(folder, file, parts):
    data, root = folder
    assert _after(data, lambda: put(root / file, b"22")) == parts


def test_a_mask_of_the_same_size_has_another_time(folder):
    data, root = folder
    assert _after(data, lambda: os.utime(root / "masks/sub/a.png", ns=(1, 1))) == ["masks"]


def test_a_labels_file_that_is_written_anew_as_it_was_has_not_changed(folder):
    data, root = folder
    assert _after(data, lambda: put(root / "labels.csv", b"1")) == []


def test_lists_annotations_and_label_maps_of_voc_count(tmp_path):
    data = Voc12(kind="voc12", root=str(tmp_path), split="val")
    files = ("ImageSets/Segmentation/val.txt", "Annotations/a.xml", "SegmentationClass/a.png")
    found = [_after(data, lambda file=file: put(tmp_path / file, b"x")) for file in files]
    assert found == [["labels"], ["labels"], ["masks"]]
    other = "SegmentationClassAug/a.png"
    assert _after(data, lambda: put(tmp_path / other, b"x")) == []


def test_the_instances_of_coco_count(tmp_path):
    data = Coco14(kind="coco14", root=str(tmp_path), annotations="mine.json")
    assert _after(data, lambda: put(tmp_path / "mine.json", b"{}")) == ["labels"]


def test_masks_in_a_store_have_names_sizes_and_times():
    data = Folder(kind="folder", root="memory://fingerprint")
    write = partial(write_bytes, "memory://fingerprint/masks/a.png")
    found = [_after(data, partial(write, content)) for content in (b"x", b"xx", b"yy")]
    assert found == [["masks"]] * 3


def test_a_set_that_is_drawn_has_none():
    assert fingerprint(Demo(kind="demo")) is None


def test_a_file_that_goes_while_the_others_are_looked_at_is_none_of_them(folder, monkeypatch):
    data, root = folder
    put(root / "masks" / "b.png", b"1")
    with_both = fingerprint(data)
    stamps = fingerprint_of.os.stat

    def gone(file, **options):
        if str(file).endswith("b.png"):
            (root / "masks" / "b.png").unlink(missing_ok=True)
        return stamps(file, **options)

    monkeypatch.setattr(fingerprint_of.os, "stat", gone)
    assert changes(with_both, fingerprint(data)) == ["masks"]


def test_it_is_that_of_runs_of_before(folder):
    data, root = folder
    path = root / "masks" / "sub" / "a.png"
    put(root / "masks" / "b.png", b"22")
    files = [root / "masks" / "b.png", path]
    stats = [(str(file), (found := file.stat()).st_size, found.st_mtime_ns) for file in files]
    wanted = sha256(json.dumps(stats).encode()).hexdigest()[:16]
    assert fingerprint(data)["masks"] == wanted
