import json

import numpy as np
import pytest
import yaml
from PIL import Image as pil
from pycocotools.coco import COCO

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.images.label_maps import label_map_row, row_label_map, unlabelled_row
from qaclims_ray.images.labelme import read_labelme
from qaclims_ray.images.yolo import read_yolo
from qaclims_ray.report import export
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.file_names import write_file_names
from qaclims_ray.run.images import class_names
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.storage.listing import list_files
from tests.build import write_artifact

MAPS = {
    "a": np.array([[0, 1, 1], [0, 1, 255]], np.uint8),
    "b": np.full((1, 5), 255, np.uint8),
    "d/e": np.array([[8], [2], [8]], np.uint8),
}


@pytest.fixture
def experiment(make_experiment, tmp_path):
    """A run whose artifact `seeds` has the maps above, and one image that nobody labelled."""
    experiment = make_experiment(tmp_path / "run")
    classes = [f"class {number}" for number in range(1, 9)]
    write_artifact(artifact(experiment, "images"), facts={"class_names": classes})
    rows = [label_map_row(name, label_map) for name, label_map in MAPS.items()]
    rows.insert(2, unlabelled_row("c", 4, 4))
    write_artifact(artifact(experiment, "seeds"), rows[:1], rows[1:], errors={"x": "broken"})
    return experiment


def test_label_maps_of_other_classes_are_not_exported(experiment, tmp_path):
    images, seeds = (artifact(experiment, name) for name in ("images", "seeds"))
    built = Built(len(MAPS) + 1, 0, {})
    seeds.complete(built, 1.0, {"images": images.require()["identity"]})
    export.run(experiment, "seeds", str(tmp_path / "out"), fmt="png", suffix="")
    images.complete(Built(0, 0, {"class_names": ["class 2", "class 1"]}), 1.0, {})
    with pytest.raises(ValueError, match=r"seeds is stale.*\(images\)"):
        export.run(experiment, "seeds", str(tmp_path / "out"), fmt="png", suffix="")


@pytest.mark.parametrize("remote", [False, True])
def test_pngs_of_all_known_label_maps(experiment, tmp_path, remote):
    to = "memory://exported/seeds" if remote else str(tmp_path / "out")
    line = export.run(experiment, "seeds", to, fmt="png", suffix="")
    assert line.startswith("export_masks: 3 seeds as png, 1 without label map left out, 1 errors")
    assert line.endswith(f"images/s · {to}")
    assert list_files(to) == ["a.png", "b.png", "classes.txt", "d/e.png"]
    for name, label_map in MAPS.items():
        assert np.array_equal(decode_mask(read_bytes(f"{to}/{name}.png")), label_map)
    assert read_bytes(f"{to}/classes.txt").decode().splitlines()[:2] == ["class 1", "class 2"]
    if not remote:
        assert pil.open(tmp_path / "out" / "a.png").mode == "P"


def test_the_images_own_file_names_come_back(experiment, tmp_path):
    files = ["images/a.JPG", "images/=b.png", "images/d/e.tif"]
    paths = {name: f"/d/{file}" for name, file in zip(MAPS, files, strict=True)}
    write_file_names(artifact(experiment, "images"), lambda: [{**paths, "c": "/d/c"}])
    export.run(experiment, "seeds", str(tmp_path / "out"), fmt="coco", suffix=".jpg")
    images = json.loads((tmp_path / "out" / "seeds.json").read_text())["images"]
    assert [one["file_name"] for one in images] == files
    export.run(experiment, "seeds", str(tmp_path / "out"), fmt="png", suffix="")
    assert (tmp_path / "out" / "files.csv").read_text().splitlines() == [
        '"image","mask"',
        '"images/a.JPG","a.png"',
        '"images/=b.png","b.png"',
        '"images/d/e.tif","d/e.png"',
    ]


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_coco_tools_read_the_label_maps_back(experiment, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(export, "_BATCH", batch)
    line = export.run(experiment, "seeds", str(tmp_path / "out"), fmt="coco", suffix=".png")
    assert line.endswith(f"{tmp_path}/out/seeds.json")
    coco = COCO(f"{tmp_path}/out/seeds.json")
    assert [one["file_name"] for one in coco.dataset["images"]] == ["a.png", "b.png", "d/e.png"]
    assert coco.dataset["categories"][7] == {"id": 8, "name": "class 8"}
    assert sorted(coco.anns) == [1, 2, 3]
    for image, label_map in zip(coco.dataset["images"], MAPS.values(), strict=True):
        assert (image["height"], image["width"]) == label_map.shape
        found = np.where(label_map == 255, 255, 0)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            found[coco.annToMask(annotation) > 0] = annotation["category_id"]
        assert np.array_equal(found, label_map)


@pytest.mark.parametrize(("fmt", "suffix"), [("yolo", ".txt"), ("labelme", ".json")])
def test_label_tools_read_polygons_back(experiment, tmp_path, fmt, suffix):
    to = tmp_path / "out"
    line = export.run(experiment, "seeds", str(to), fmt=fmt, suffix=".jpg")
    assert line.startswith(f"export_masks: 3 seeds as {fmt}, 1 without label map left out")
    assert ("undecided pixels are background there" in line) == (fmt == "yolo")
    classes = [f"class {number}" for number in range(1, 9)]
    for name, label_map in MAPS.items():
        text = (to / f"{name}{suffix}").read_text()
        if fmt == "yolo":
            found = read_yolo(text, label_map.shape, 8)
            assert np.array_equal(found, np.where(label_map == 255, 0, label_map))
        else:
            assert np.array_equal(read_labelme(text, classes), label_map)
            assert json.loads(text)["imagePath"] == f"{name}.jpg"
    if fmt == "yolo":
        assert yaml.safe_load((to / "data.yaml").read_text())["names"][7] == "class 8"


def test_regions_of_cams_are_exported_at_a_threshold(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run", {"evaluate.threshold": 0.6})
    write_artifact(artifact(experiment, "images"), facts={"class_names": ["cat", "dog"]})
    maps = np.array([[[0.2, 0.7, 0.9]], [[0.1, 0.8, 0.3]]], np.float16)
    size = {"height": 1, "width": 3, "cam_height": 1, "cam_width": 3}
    row = {"name": "a", "classes": [0, 1], "cam": maps.tobytes(), **size}
    write_artifact(artifact(experiment, "cams"), [row])
    line = export.run(experiment, "cams", str(tmp_path), fmt="png", suffix="")
    assert line.startswith("export_masks: 1 cams at threshold 0.6 as png")
    assert decode_mask((tmp_path / "a.png").read_bytes()).tolist() == [[0, 2, 1]]
    export.run(experiment, "cams", str(tmp_path), fmt="labelme", suffix="", threshold=0.85)
    text = (tmp_path / "a.json").read_text()
    assert read_labelme(text, ["cat", "dog"]).tolist() == [[0, 0, 1]]
    export.run(experiment, "cams", str(tmp_path), fmt="coco", suffix="", threshold=0.1)
    assert len(json.loads((tmp_path / "cams.json").read_text())["annotations"]) == 2
    write_artifact(artifact(experiment, "masks"), [label_map_row("a", MAPS["a"])])
    with pytest.raises(ValueError, match="--threshold is for CAMs"):
        export.run(experiment, "masks", str(tmp_path), fmt="png", suffix="", threshold=0.5)


def test_no_label_map_makes_an_empty_coco_file(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run")
    write_artifact(artifact(experiment, "images"), facts={"class_names": ["cat"]})
    write_artifact(artifact(experiment, "masks"), [unlabelled_row("a", 1, 1)])
    export.run(experiment, "masks", "memory://empty", fmt="coco", suffix="")
    assert json.loads(read_bytes("memory://empty/masks.json")) == {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [],
        "annotations": [],
    }


def test_a_name_that_leads_out_of_the_folder_is_refused(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run")
    write_artifact(artifact(experiment, "images"), facts={"class_names": ["cat"]})
    write_artifact(artifact(experiment, "masks"), [label_map_row("../a", MAPS["a"])])
    with pytest.raises(ValueError, match=r"'\.\./a' is not a path below its folder"):
        export.run(experiment, "masks", str(tmp_path / "out"), fmt="png", suffix="")
    assert not (tmp_path / "a.png").exists()


def test_what_is_not_made_yet_names_its_job(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path / "run")
    write_artifact(artifact(experiment, "images"), facts={"class_names": ["cat"]})
    with pytest.raises(ValueError, match=r"run qaclims seeds first"):
        export.run(experiment, "seeds", str(tmp_path / "out"), fmt="png", suffix="")


@pytest.mark.parametrize("name", ["seeds", "masks", "predictions"])
def test_a_real_run_is_exported(demo_run, tmp_path, name):
    export.run(demo_run, name, str(tmp_path), fmt="png", suffix="")
    export.run(demo_run, name, str(tmp_path), fmt="coco", suffix=".jpg")
    rows = read_table(artifact(demo_run, name)).to_pylist()
    masks = {file for file in list_files(str(tmp_path)) if file.endswith(".png")}
    assert masks == {f"{row['name']}.png" for row in rows}
    coco = COCO(f"{tmp_path}/{name}.json")
    names = class_names(artifact(demo_run, "images"))
    assert [one["name"] for one in coco.dataset["categories"]] == list(names)
    for image, row in zip(coco.dataset["images"], rows, strict=True):
        label_map = row_label_map(row)
        found = np.zeros_like(label_map)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            found[coco.annToMask(annotation) > 0] = annotation["category_id"]
        assert image["file_name"] == f"{row['name']}.jpg"
        assert np.array_equal(found, np.where(label_map == 255, 0, label_map))
