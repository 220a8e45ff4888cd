import shutil
from contextlib import suppress

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.world import CLASSES as DEMO_CLASSES
from qaclims_ray.ingest.voc12 import CLASSES, EXPECTED_COUNTS, parse_annotation, read_voc
from tests.build import annotation, put


def test_names_labels_images_and_masks(voc):
    listing = read_voc(str(voc), "train")
    assert [source["name"] for source in listing.sources] == ["a", "b", "c"]
    assert [[CLASSES[i] for i in source["labels"]] for source in listing.sources] == [
        ["cat", "dog"],
        ["sofa"],
        ["train", "tv monitor"],
    ]
    assert listing.sources[0]["image"] == f"{voc}/JPEGImages/a.jpg"
    assert listing.sources[0]["mask"] == f"{voc}/SegmentationClass/a.png"
    assert listing.sources[1]["mask"] is None
    assert listing.errors == []
    assert listing.class_names == CLASSES


def test_every_class_of_the_annotations_is_known():
    names = [name.replace(" ", "") for name in CLASSES]
    xml = "".join(f"<object><name>{name}</name></object>" for name in names)
    assert parse_annotation(f"<annotation>{xml}</annotation>".encode(), CLASSES) == list(range(20))


def test_difficult_objects_count_and_parts_do_not():
    xml = annotation("cat", difficult=1).replace(
        "</object>", "<part><name>head</name></part></object>"
    )
    assert parse_annotation(xml.encode(), CLASSES) == [CLASSES.index("cat")]


def test_two_columns(voc):
    put(voc / "SegmentationClassAug" / "b.png", b"")
    lines = (
        "/JPEGImages/a.jpg /SegmentationClass/a.png\nJPEGImages/b.jpg SegmentationClassAug/b.png"
    )
    put(voc / "mine.txt", lines)
    listing = read_voc(str(voc), str(voc / "mine.txt"))
    assert [source["mask"] for source in listing.sources] == [
        f"{voc}/SegmentationClass/a.png",
        f"{voc}/SegmentationClassAug/b.png",
    ]
    assert listing.sources[1]["image"] == f"{voc}/JPEGImages/b.jpg"


@pytest.mark.parametrize("split", ["train_aug", "trainaug"])
def test_an_augmented_split_takes_the_augmented_masks(voc, split):
    put(voc / "SegmentationClassAug" / "b.png", b"")
    put(voc / "ImageSets" / "Segmentation" / f"{split}.txt", "a\nb\n")
    masks = [source["mask"] for source in read_voc(str(voc), split).sources]
    assert masks == [None, f"{voc}/SegmentationClassAug/b.png"]
    given = read_voc(str(voc), split, masks_folder="SegmentationClass").sources
    assert [source["mask"] for source in given] == [f"{voc}/SegmentationClass/a.png", None]


def test_test_images_have_neither_labels_nor_masks(voc):
    put(voc / "ImageSets" / "Segmentation" / "test.txt", "a\nx\n")
    listing = read_voc(str(voc), "test")
    assert [(s["labels"], s["mask"]) for s in listing.sources] == [(None, None)] * 2


def test_labels_of_the_published_file_win_over_annotations(voc):
    one_hot = np.zeros(20, np.float32)
    one_hot[[3, 7]] = 1
    np.save(voc / "cls_labels.npy", {"a": one_hot, "b": one_hot})
    listing = read_voc(str(voc), "train", labels_file=str(voc / "cls_labels.npy"))
    assert [source["labels"] for source in listing.sources] == [[3, 7], [3, 7]]
    assert [name for name, _ in listing.errors] == ["c"]
    assert "no labels in" in listing.errors[0][1]
    below_root = read_voc(str(voc), "train", labels_file="cls_labels.npy")
    assert below_root.sources == listing.sources


def test_what_concerns_one_image_is_recorded(voc):
    (voc / "Annotations" / "a.xml").unlink()
    put(voc / "Annotations" / "b.xml", "<annotation><object>")
    put(voc / "Annotations" / "c.xml", annotation("tiger"))
    put(voc / "Annotations" / "d.xml", annotation("cat"))
    put(voc / "ImageSets" / "Segmentation" / "train.txt", "a\nb\nc\nd\nd\n")
    listing = read_voc(str(voc), "train")
    assert [source["name"] for source in listing.sources] == ["d"]
    reasons = dict(listing.errors)
    assert "a.xml" in reasons["a"]
    assert "not XML" in reasons["b"]
    assert "unknown class 'tiger'" in reasons["c"]
    assert "the name 'd' is taken" in reasons["d (image 5)"]


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "x/../../a", "a\\b", ".", "..", "sub/a"])
def test_no_name_leaves_the_folder(voc, name):
    put(voc / "ImageSets" / "Segmentation" / "train.txt", f"a\n{name}\n")
    listing = read_voc(str(voc), "train")
    assert [source["name"] for source in listing.sources] == ["a"]
    assert [key for key, _ in listing.errors] == [f"{name} (line 2)"]


@pytest.mark.parametrize(
    "columns", ["/JPEGImages/../a.jpg /m/a.png", "/JPEGImages/a.jpg /../a.png"]
)
def test_no_column_leaves_the_folder(voc, columns):
    put(voc / "mine.txt", columns + "\nb")
    listing = read_voc(str(voc), str(voc / "mine.txt"))
    assert len(listing.sources) == len(listing.errors) == 1


def test_missing_files_say_what_is_expected_where(voc):
    with pytest.raises(ValueError, match=r"ImageSets/Segmentation/val\.txt.*list of image names"):
        read_voc(str(voc), "val")
    put(voc / "ImageSets" / "Segmentation" / "val.txt", "x\ny\n")
    with pytest.raises(ValueError, match=r"Annotations: no annotations; expected <name>\.xml"):
        read_voc(str(voc), "val")
    with pytest.raises(ValueError, match=r"nowhere/ImageSets"):
        read_voc(str(voc / "nowhere"), "train")


def test_the_demo_world_is_read(tmp_path):
    write_voc(tmp_path, split="train", num_images=5, seed=1, biased=True)
    listing = read_voc(str(tmp_path), "train", class_names=DEMO_CLASSES)
    assert len(listing.sources) == 5
    assert all(source["mask"] and source["labels"] for source in listing.sources)
    assert listing.class_names == tuple(DEMO_CLASSES)


def test_remote_folders(voc):
    memory = fsspec.filesystem("memory")
    memory.put(str(voc), "/voc", recursive=True)
    listing = read_voc("memory://voc", "train")
    assert [source["labels"] for source in listing.sources] == [[7, 11], [17], [18, 19]]
    assert listing.sources[0]["mask"] == "memory://voc/SegmentationClass/a.png"
    assert listing.sources[1]["mask"] is None


@given(st.binary(max_size=200))
def test_any_bytes_are_an_annotation_or_an_error(xml):
    with suppress(ValueError):
        assert parse_annotation(xml, CLASSES) == []


def test_published_counts():
    assert EXPECTED_COUNTS["train_aug"] == (10_582, 16_458)
    assert EXPECTED_COUNTS["train"][0] == 1_464
    assert EXPECTED_COUNTS["val"][0] == 1_449


@pytest.mark.parametrize("split", ["train_aug", "trainaug", "lists/train_aug.txt"])
def test_a_missing_train_aug_list_says_what_it_is_and_how_to_give_it(voc, split):
    with pytest.raises(ValueError, match=r"aug\.txt: No such file") as caught:
        read_voc(str(voc), split)
    for text in ("10,582 names", "SBD", "voc12/train_aug.txt", "data.split=…/train_aug.txt"):
        assert text in str(caught.value)


def test_the_published_train_aug_list_may_lie_anywhere(voc, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "train_aug.txt"
    path.write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png \n/JPEGImages/b.jpg x/b.png\n")
    put(voc / "SegmentationClassAug" / "a.png", b"")
    listing = read_voc(str(voc), str(path))
    assert [(s["name"], s["mask"]) for s in listing.sources] == [
        ("a", f"{voc}/SegmentationClassAug/a.png"),
        ("b", None),
    ]


def test_a_folder_of_masks_that_fits_no_image_is_said(voc):
    assert read_voc(str(voc), "train", masks_folder="SegmentationClass").warnings == ()
    (warning,) = read_voc(str(voc), "train", masks_folder="Masks").warnings
    assert "/Masks has no mask of any image, so that nothing will be scored" in warning
    shutil.rmtree(voc / "SegmentationClass")
    (warning,) = read_voc(str(voc), "train").warnings
    assert "/SegmentationClass has no mask of any image" in warning
