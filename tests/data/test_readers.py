import pytest
from PIL import Image as pil

from qaclims_ray.data.readers import read
from qaclims_ray.sections.data import Folder


@pytest.fixture
def folder(tmp_path, make):
    make.put(tmp_path / "images" / "a.jpg", make.encode(pil.new("RGB", (4, 4)), "JPEG"))
    make.put(tmp_path / "labels.csv", "a.jpg,class 300\n")
    return tmp_path


def many(root, number):
    names = tuple(f"class {index}" for index in range(1, number + 1))
    return Folder(kind="folder", root=str(root), class_names=names)


def test_any_number_of_classes_will_do_without_masks(folder):
    assert read(many(folder, 300), "run").sources[0]["labels"] == [299]


def test_masks_hold_254_classes(folder, make):
    make.put(folder / "labels.csv", "a.jpg,class 3\n")
    make.put(folder / "masks" / "a.png", make.encode(pil.new("L", (4, 4))))
    assert read(many(folder, 254), "run").sources[0]["mask"]
    with pytest.raises(ValueError, match="at most 254 classes, the data set has 255"):
        read(many(folder, 255), "run")
