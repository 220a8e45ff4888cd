"""Labels as detectors and classifiers have them: YOLO's text files, a folder for each class."""

import pytest
from PIL import Image as pil

from qaclims_ray.config.data import Folder
from qaclims_ray.config.renamed import current_keys
from qaclims_ray.ingest.fingerprint import changes, fingerprint
from qaclims_ray.ingest.readers import read
from tests.build import encode, put

JPEG = encode(pil.new("RGB", (4, 4)), "JPEG")


def _data(root, labels="yolo", **other):
    return Folder(kind="folder", root=str(root), labels=labels, **other)


def _labels(listing):
    return {source["name"]: source["labels"] for source in listing.sources}


@pytest.fixture
def yolo(tmp_path):
    """Two images with boxes and polygons, one that shows nothing, and one without a file."""
    texts = {
        "train/a": "2 0.5 0.5 0.1 0.1\n0 0 0 1 0 1 1\n2 0.1 0.1 0.1 0.1\n",
        "b": "1 0.5 0.5 0.1 0.1",
        "empty": "",
        "none": None,
    }
    for name, text in texts.items():
        put(tmp_path / "images" / f"{name}.jpg", JPEG)
        if text is not None:
            put(tmp_path / "labels" / f"{name}.txt", text)
    put(tmp_path / "data.yaml", "path: x\nnames:\n  0: cat\n  1: dog\n  2: stop sign\n")
    return tmp_path


def test_yolos_files_tell_the_classes_of_their_images(yolo):
    listing = read(_data(yolo), "")
    assert listing.class_names == ("cat", "dog", "stop sign")
    assert _labels(listing) == {"b": [1], "empty": [], "train__a": [0, 2]}
    assert listing.num_unlabelled == 1
    assert _labels(read(_data(yolo, unlabelled=True), ""))["none"] is None


@pytest.mark.parametrize("names", ["names: [cat, dog, stop sign]", None])
def test_names_may_be_a_list_or_in_classes_txt(yolo, names):
    if names is None:
        (yolo / "data.yaml").unlink()
        put(yolo / "classes.txt", "cat\ndog\nstop sign\n")
    else:
        put(yolo / "data.yaml", names)
    assert read(_data(yolo), "").class_names == ("cat", "dog", "stop sign")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9 0 0 1 1", "labels/b.txt: line 1: class index 9 of 3 classes"),
        ("\ncat 0 0 1 1", "line 2: expected a class index, then a box or a polygon"),
        ("1", "line 1: expected a class index"),
        (b"\xff\xfe", "labels/b.txt: "),
    ],
)
def test_a_bad_file_costs_its_own_image(yolo, text, said):
    put(yolo / "labels" / "b.txt", text)
    listing = read(_data(yolo), "")
    assert "b" not in _labels(listing)
    ((name, reason),) = listing.errors
    assert name == "b.jpg"
    assert said in reason


@pytest.mark.parametrize("names", ["names: 3", "names: {0: cat, 2: dog}", "nc: 3"])
def test_names_that_are_none_are_refused(yolo, names):
    put(yolo / "data.yaml", names)
    with pytest.raises(ValueError, match=r"data\.yaml: expected names"):
        read(_data(yolo), "")


def test_the_folder_of_an_image_is_its_class(tmp_path):
    for path in ("cat/a", "dog/b", "dog/deep/c"):
        put(tmp_path / "images" / f"{path}.jpg", JPEG)
    listing = read(_data(tmp_path, "folders"), "")
    assert listing.class_names == ("cat", "dog")
    assert _labels(listing) == {"cat__a": [0], "dog__b": [1], "dog__deep__c": [1]}
    put(tmp_path / "images" / "loose.jpg", JPEG)
    with pytest.raises(ValueError, match=r"a folder for each class.*loose\.jpg lies in none"):
        read(_data(tmp_path, "folders"), "")


def test_without_any_there_is_a_clear_error(tmp_path):
    put(tmp_path / "images" / "a.jpg", JPEG)
    with pytest.raises(ValueError, match=r"no labels/a\.txt of any images/a\.jpg"):
        read(_data(tmp_path), "")


def test_labels_and_names_that_change_are_told(yolo):
    before = fingerprint(_data(yolo))
    put(yolo / "labels" / "b.txt", "0 0.5 0.5 0.1 0.1 ")
    assert changes(before, fingerprint(_data(yolo))) == ["labels"]
    before = fingerprint(_data(yolo))
    put(yolo / "data.yaml", "names: [cat, dog, bird]")
    assert changes(before, fingerprint(_data(yolo))) == ["classes"]


def test_runs_of_before_had_their_labels_in_a_file():
    assert current_keys({"data.kind": "folder"})["data.labels"] == "file"
    assert "data.labels" not in current_keys({"data.kind": "voc12"})
