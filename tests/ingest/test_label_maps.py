"""Label maps of others are found by the names of images, in every format, or refused."""

import json

import numpy as np
import pytest

from qaclims_ray.images.coco import coco_regions
from qaclims_ray.images.label_maps import label_map_row
from qaclims_ray.images.labelme import labelme_json
from qaclims_ray.images.yolo import yolo_lines
from qaclims_ray.ingest.label_maps import find_label_maps, read_label_map, readers_of
from qaclims_ray.report import export
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.file_names import write_file_names
from tests.build import png, put, write_artifact

NAMES = ("cat", "dog", "Hündin")
MAPS = {
    "a" * 300: np.array([[2, 0]], np.uint8),
    "grün": np.array([[1, 2], [2, 1]], np.uint8),
    "nothing": np.zeros((4, 5), np.uint8),
    "of/a tar": np.array([[1, 0, 3]], np.uint8),
    "plain": np.array([[0, 1, 1], [3, 3, 1]], np.uint8),
    "under__neath": np.array([[2], [2], [0]], np.uint8),
    "with blank": np.array([[0, 3]], np.uint8),
}
FILES = {name: f"{name.replace('__', '/')}.jpg" for name in MAPS}
MAP = MAPS["plain"]


def _coco(file="plain.jpg", names=NAMES, **changes):
    image = {"id": 7, "file_name": file, "height": 2, "width": 3}
    regions = [
        {"id": i, "image_id": 7, **one, **changes} for i, one in enumerate(coco_regions(MAP))
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return json.dumps({"images": [image], "annotations": regions, "categories": categories})


def _find(folder, files, where=""):
    for name, content in files.items():
        put(folder / name, content)
    return find_label_maps(str(folder / where), FILES, NAMES)


def _read(folder, files, where="", name="plain"):
    given = _find(folder, files, where).of[name]
    return read_label_map(given, MAPS[name].shape, num_classes=3)


@pytest.mark.parametrize("fmt", ["png", "coco", "yolo", "labelme"])
def test_what_export_writes_of_any_name_is_read_back(make_experiment, tmp_path, fmt):
    experiment = make_experiment(tmp_path / "run")
    images = artifact(experiment, "images")
    rows = [{"name": name, "image": b"", "height": 1, "width": 1} for name in MAPS]
    write_artifact(images, rows, facts={"class_names": list(NAMES)})
    write_file_names(images, lambda: [FILES])
    rows = [label_map_row(name, label_map) for name, label_map in MAPS.items()]
    write_artifact(artifact(experiment, "masks"), rows)
    export.run(experiment, "masks", str(tmp_path / "out"), fmt=fmt, suffix="")
    readers = readers_of(experiment, str(tmp_path / "out"))
    assert sorted(readers) == sorted(MAPS)
    for name, label_map in MAPS.items():
        assert np.array_equal(readers[name](label_map.shape), label_map)


def test_tools_that_know_the_image_files_alone_are_understood(tmp_path):
    label_map = MAPS["under__neath"]
    files = {"under/neath.json": labelme_json(label_map, NAMES, "neath.jpg")}
    assert np.array_equal(_read(tmp_path, files, name="under__neath"), label_map)
    decomposed = {"gru\u0308n.png": png(MAPS["grün"])}  # as macOS spells names
    assert np.array_equal(_read(tmp_path / "mac", decomposed, name="grün"), MAPS["grün"])


def test_where_outlines_overlap_the_last_lies_on_top_and_in_coco_the_smaller(tmp_path):
    whole, left = (
        {"segmentation": [[0, 0, right, 0, right, 2, 0, 2]], "image_id": 7} for right in (3, 2)
    )
    objects = [{**left, "category_id": 1, "id": 1}, {**whole, "category_id": 2, "id": 2}]
    coco = json.dumps({**json.loads(_coco()), "annotations": objects})
    yolo = "0 0 0 0.666667 0 0.666667 1 0 1\n1 0 0 1 0 1 1 0 1\n"
    drawn = _read(tmp_path / "coco", {"all.json": coco})
    assert drawn.tolist() == [[1, 1, 2], [1, 1, 2]]
    assert (_read(tmp_path / "yolo", {"plain.txt": yolo}) == 2).all()


@pytest.mark.parametrize("file", ["data.yaml", "classes.txt"])
@pytest.mark.parametrize("labels", ["", "labels/"])
def test_classes_that_a_list_has_in_another_order_keep_their_meaning(tmp_path, file, labels):
    text = "\n".join(NAMES[::-1])
    listed = json.dumps({"names": NAMES[::-1]}) if file == "data.yaml" else text
    mirrored = np.where(MAP > 0, 4 - MAP, 0).astype(np.uint8)
    files = {file: listed, f"{labels}plain.txt": yolo_lines(mirrored)}
    assert np.array_equal(_read(tmp_path, files, labels.rstrip("/")), MAP)


@pytest.mark.parametrize(
    ("files", "where", "said"),
    [
        (
            {"plain.png": b"", "plain.txt": b""},
            "",
            r"two files of 'plain' in .*plain\.txt: keep one",
        ),
        (
            {"classes.txt": "cat\nHündin\ndog", "plain.png": b""},
            "",
            "not the run's in the same ord",
        ),
        ({"classes.txt": "cat\ndgo", "plain.txt": ""}, "", r"classes\.txt: 'dgo' is no class; did"),
        ({"data.yaml": "names: [cat, dgo]", "plain.txt": ""}, "", r"data\.yaml: 'dgo' is no class"),
        ({"data.yaml": "nc: 3", "plain.txt": ""}, "", r"data\.yaml: expected names"),
        ({"c.json": _coco(names=("cat", "dgo"))}, "", r"c\.json: 'dgo' is no class; did you mean"),
        ({"c.json": _coco(category_id=9)}, "c.json", "plain.jpg has the category 9, which is none"),
        ({"c.json": _coco(segmentation=[])}, "c.json", "plain.jpg lacks an outline of each object"),
        ({"c.json": "{}"}, "", r"c\.json: no COCO instances"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, files, where, said):
    with pytest.raises(ValueError, match=said):
        _find(tmp_path, files, where)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("plain.png", png(MAP[:1]), r"plain\.png: the mask is 3 x 1 pixels wide and high, its"),
        ("plain.json", labelme_json(MAP[:1], NAMES, ""), r"plain\.json: the mask is 3 x 1"),
        (
            "c.json",
            _coco().replace('"height": 2', '"height": 1'),
            r"c\.json: a region is \[2, 3\] pixels",
        ),
        ("plain.png", png(np.stack([MAP] * 3, axis=-1)), r"plain\.png: the mask is a colour image"),
        ("plain.png", png(MAP + 3), r"plain\.png: mask value 4, 6 is illegal"),
        ("plain.json", labelme_json(MAP, ("cat", "x", "y"), ""), "shape 2: 'y' is no class"),
        ("plain.txt", "0 0.5 0.5 0.2 0.2", r"plain\.txt: line 1: 4 numbers are a box"),
    ],
)
def test_one_that_does_not_fit_is_named(tmp_path, file, content, said):
    with pytest.raises(ValueError, match=said):
        _read(tmp_path, {file: content})


def test_files_of_no_image_are_listed_and_lists_of_names_are_no_label_maps(tmp_path):
    others = {"classes.txt": "\n".join(NAMES), "data.yaml": json.dumps({"names": NAMES})}
    found = _find(tmp_path, {"plain.txt": "", "zzz.txt": "", "files.csv": "", **others})
    assert (sorted(found.of), found.unknown) == (["plain"], ["zzz.txt"])
