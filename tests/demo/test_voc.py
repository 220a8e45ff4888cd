from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from qaclims_ray.demo.voc import split_seed, write_voc
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.demo.world import make_example
from qaclims_ray.images.palette import voc_palette


def read_all(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_layout_is_vocs(tmp_path: Path):
    write_voc(tmp_path, split="train", num_images=2, seed=5, biased=True)
    assert sorted(read_all(tmp_path)) == [
        "Annotations/train_000000.xml",
        "Annotations/train_000001.xml",
        "ImageSets/Segmentation/train.txt",
        "JPEGImages/train_000000.jpg",
        "JPEGImages/train_000001.jpg",
        "SegmentationClass/train_000000.png",
        "SegmentationClass/train_000001.png",
    ]
    names = (tmp_path / "ImageSets/Segmentation/train.txt").read_text().split()
    assert names == ["train_000000", "train_000001"]


def test_files_tell_what_the_world_shows(tmp_path: Path):
    write_voc(tmp_path, split="val", num_images=3, seed=5, biased=False)
    for index in range(3):
        example = make_example(split_seed(5, "val"), index, biased=False)
        mask = Image.open(tmp_path / f"SegmentationClass/val_{index:06d}.png")
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), example.label_map)
        image = np.asarray(Image.open(tmp_path / f"JPEGImages/val_{index:06d}.jpg"))
        assert np.abs(image - example.image.astype(float)).mean() < 6
        xml = ElementTree.parse(tmp_path / f"Annotations/val_{index:06d}.xml")
        assert {node.text for node in xml.iterfind("object/name")} == set(example.class_names)
        assert set(example.class_names) <= set(CLASSES)


def test_boxes_bound_the_visible_pixels(tmp_path: Path):
    write_voc(tmp_path, split="val", num_images=1, seed=5, biased=False)
    item = make_example(split_seed(5, "val"), 0, biased=False).objects[0]
    box = ElementTree.parse(tmp_path / "Annotations/val_000000.xml").find("object/bndbox")
    assert box is not None
    edges = {node.tag: int(node.text or "") for node in box}
    inside = item.visible[edges["ymin"] - 1 : edges["ymax"], edges["xmin"] - 1 : edges["xmax"]]
    assert inside.sum() == item.visible.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


def test_writing_twice_gives_the_same_files(tmp_path: Path):
    for folder in ("a", "b", "b"):
        write_voc(tmp_path / folder, split="train", num_images=2, seed=1, biased=True)
    assert read_all(tmp_path / "a") == read_all(tmp_path / "b")


def test_splits_share_no_image(tmp_path: Path):
    write_voc(tmp_path, split="train", num_images=1, seed=1, biased=True)
    write_voc(tmp_path, split="val", num_images=1, seed=1, biased=True)
    files = read_all(tmp_path)
    assert files["JPEGImages/train_000000.jpg"] != files["JPEGImages/val_000000.jpg"]


def test_palette_is_vocs():
    palette = voc_palette().tolist()
    assert palette[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[255] == [224, 224, 192]
