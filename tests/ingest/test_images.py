import tarfile

import numpy as np
import pytest

from qaclims_ray.ingest.images import read_images
from qaclims_ray.ingest.sources import load


@pytest.fixture
def folder(tmp_path, png):
    """Photographs in folders, two of one stem, and a file that is none."""
    for name in ("a.png", "sub/b.PNG", "sub/c.png", "sub/c.bmp", "notes.txt"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"" if name == "notes.txt" else png(np.zeros((4, 5, 3), np.uint8)))
    return tmp_path / "photos"


def _names(listing):
    return [source["name"] for source in listing.sources]


def test_a_folder_of_images(folder):
    listing = read_images(str(folder))
    assert _names(listing) == ["a", "sub__b", "sub__c.bmp", "sub__c.png"]
    assert (listing.class_names, listing.errors) == ((), [])
    row = load(listing.sources[0], num_classes=0)
    assert (row["height"], row["width"], row["labels"], row["mask"]) == (4, 5, None, None)


def test_a_list_names_paths_and_urls(folder):
    lines = ["a.png", "", f"{folder}/sub/b.PNG", "https://example.org/x/d.jpg?size=1"]
    (folder / "list.txt").write_text("\n".join(lines))
    listing = read_images(str(folder / "list.txt"))
    assert _names(listing) == ["a", "b", "d"]
    assert listing.sources[0]["image"] == f"{folder}/a.png"
    assert listing.sources[2]["image"] == lines[3]


def test_images_of_a_list_that_share_a_name(folder):
    (folder / "twin").mkdir()
    (folder / "twin/a.png").write_bytes(b"")
    (folder / "list.txt").write_text("a.png\ntwin/a.png\n")
    listing = read_images(str(folder / "list.txt"))
    assert _names(listing) == ["a.png"]
    assert "is taken by" in listing.errors[0][1]


def test_one_image(folder):
    assert _names(read_images(str(folder / "a.png"))) == ["a"]


def test_a_tar_whose_labels_and_masks_are_left_alone(folder, tmp_path):
    (folder / "a.cls").write_text("cat")
    (folder / "a.mask.png").write_bytes((folder / "a.png").read_bytes())
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in ("a.png", "a.cls", "a.mask.png"):
            tar.add(folder / name, name)
    (source,) = read_images(str(tmp_path / "photos.tar")).sources
    assert (source["name"], source["labels"], source["mask"]) == ("a", None, None)


def test_no_image_is_an_error_that_says_what_is_legal(tmp_path):
    with pytest.raises(ValueError, match=r"no image there; expected a folder of images"):
        read_images(str(tmp_path / "absent"))
