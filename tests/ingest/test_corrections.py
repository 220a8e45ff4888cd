"""What people correct in a label tool is the ground truth of the next scores."""

import json

import numpy as np
import pytest

from qaclims_ray.config.data import Voc12
from qaclims_ray.images.coco import coco_regions
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.labelme import labelme_json
from qaclims_ray.images.yolo import yolo_lines
from qaclims_ray.ingest.fingerprint import changes, fingerprint
from qaclims_ray.ingest.readers import read
from qaclims_ray.ingest.sources import MaskError, load
from qaclims_ray.run.recipe import recipe, without_masks
from tests.build import png, put

MASK = np.zeros((40, 60), np.uint8)
MASK[5:30, 10:50] = 12
MASK[10:20, 20:30] = 8


def _data(voc, corrections):
    own = None if corrections is None else str(corrections)
    return Voc12(kind="voc12", root=str(voc), split="train", corrections=own)


def _rows(voc, corrections):
    listing = read(_data(voc, corrections), "")
    return listing, {one["name"]: load(one, num_classes=20) for one in listing.sources}


def _coco(names, mask=MASK, file="b.jpg"):
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(names)]
    image = {"id": 7, "file_name": file, "height": 40, "width": 60}
    annotations = [{"id": i, "image_id": 7, **one} for i, one in enumerate(coco_regions(mask))]
    return json.dumps({"categories": categories, "images": [image], "annotations": annotations})


@pytest.fixture
def names(voc):
    return read(_data(voc, None), "").class_names


@pytest.mark.parametrize("fmt", ["png", "labelme", "yolo", "coco"])
def test_a_corrected_mask_is_the_ground_truth_in_every_format(voc, names, tmp_path, fmt):
    files = {
        "png": ("b.png", png(MASK)),
        "labelme": ("b.json", labelme_json(MASK, names, "b.jpg").encode()),
        "yolo": ("b.txt", yolo_lines(MASK).encode()),
        "coco": ("all.json", _coco(names).encode()),
    }
    folder = tmp_path / "fixed"
    put(folder / files[fmt][0], files[fmt][1])
    put(folder / "classes.txt", "\n".join(names))
    where = folder / "all.json" if fmt == "coco" else folder
    listing, rows = _rows(voc, where)
    assert np.array_equal(decode_mask(rows["b"]["mask"]), MASK)
    assert rows["a"]["mask"] == _rows(voc, None)[1]["a"]["mask"]
    assert listing.warnings[-1] == "1 of 3 images have the ground truth of data.corrections"


def test_it_replaces_the_one_that_was_there(voc, tmp_path):
    put(tmp_path / "fixed" / "a.png", png(MASK))
    put(tmp_path / "fixed" / "zzz.png", png(MASK))
    listing, rows = _rows(voc, tmp_path / "fixed")
    assert np.array_equal(decode_mask(rows["a"]["mask"]), MASK)
    assert listing.warnings[-1] == "1 corrections belong to no image, as zzz.png"


@pytest.mark.parametrize(
    ("files", "where", "said"),
    [
        ({"zzz.png": b""}, "", "has no mask of any image: expected NAME.png"),
        ({"a.png": b"", "a.txt": b""}, "", "two files of 'a' in .*: keep one"),
        ({"c.json": _coco(["catt"]).encode()}, "c.json", "'catt' is no class; did you"),
        ({"c.json": _coco(["cat"], file="q.jpg").encode()}, "c.json", "no mask of any image"),
    ],
)
def test_what_cannot_be_meant_is_an_error(voc, tmp_path, files, where, said):
    for name, content in files.items():
        put(tmp_path / "fixed" / name, content)
    with pytest.raises(ValueError, match=said):
        read(_data(voc, tmp_path / "fixed" / where), "")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.json", labelme_json(MASK, ["x"] * 20, "").encode(), r"b\.json: shape 1: 'x' is no"),
        ("b.txt", b"99 0 0 1 0 1 1", r"b\.txt: line 1: class index 99"),
        ("b.json", labelme_json(MASK[:9], ["cat"] * 20, "").encode(), "60 x 9 pixels wide"),
    ],
)
def test_a_bad_one_costs_its_image_the_ground_truth(voc, tmp_path, name, content, said):
    put(tmp_path / "fixed" / name, content)
    listing = read(_data(voc, tmp_path / "fixed"), "")
    with pytest.raises(MaskError, match=said):
        load(listing.sources[1], num_classes=20)


def test_they_change_masks_and_nothing_else(voc, tmp_path, make_experiment):
    put(tmp_path / "fixed" / "a.png", png(MASK))
    before = fingerprint(_data(voc, tmp_path / "fixed"))
    put(tmp_path / "fixed" / "b.png", png(MASK))
    assert changes(before, fingerprint(_data(voc, tmp_path / "fixed"))) == ["masks"]
    plain, own = (make_experiment(tmp_path, {"data.corrections": one}) for one in (None, "fixed"))
    for name, is_same in {"images": False, "cams": True, "masks": True, "scores": False}.items():
        kept = [without_masks(one, name, recipe(one, name)) for one in (plain, own)]
        assert (kept[0] == kept[1]) == is_same
