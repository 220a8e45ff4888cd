import json

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from qaclims_ray.ingest.facts import COLUMNS, check_known_set, count_facts, describe
from qaclims_ray.ingest.sources import Listing
from qaclims_ray.types import SCHEMAS

STORED = ["height", "width", "labels", "mask"]
NAMES = ("cat", "dog", "fox")


def table(*rows):
    schema = pa.schema([SCHEMAS["images"].field(name) for name in STORED])
    stored = pa.Table.from_pylist([dict(zip(STORED, row, strict=True)) for row in rows], schema)
    return pads.dataset(stored).to_table(columns=COLUMNS)


def listing(**more):
    return Listing(sources=[], class_names=NAMES, **({"errors": []} | more))


def test_facts():
    images = table((10, 30, [0, 1], b"m"), (20, 10, [1], None), (60, 20, [], None))
    facts = count_facts(pa.concat_tables([images, images]), listing(num_unlabelled=4))
    assert facts == {
        "class_names": ["cat", "dog", "fox"],
        "num_images": 6,
        "num_pairs": 6,
        "num_masks": 2,
        "num_unlabelled": 4,
        "num_kept_unlabelled": 0,
        "num_listed_errors": 0,
        "images_per_class": {"cat": 2, "dog": 4, "fox": 0},
        "height": (10, 20, 60),
        "width": (10, 20, 30),
    }
    assert json.loads(json.dumps(facts))["num_images"] == 6


def test_images_without_labels_are_counted_apart_from_those_without_a_class():
    facts = count_facts(table((1, 1, [0], None), (1, 1, [], None), (1, 1, None, None)), listing())
    assert (facts["num_pairs"], facts["num_kept_unlabelled"]) == (1, 1)
    assert "1 images without labels" in describe(facts)


def test_count_facts_nothing():
    facts = count_facts(table(), listing(errors=[("a", "broken")]))
    assert facts["num_images"] == facts["num_pairs"] == 0
    assert facts["num_listed_errors"] == 1


def whole(num_images, num_pairs, num_masks=None):
    facts = count_facts(table((1, 1, [0, 1, 2], b"m")), listing())
    masks = num_images if num_masks is None else num_masks
    return facts | {"num_images": num_images, "num_pairs": num_pairs, "num_masks": masks}


@pytest.mark.parametrize(
    ("kind", "split", "num_images"),
    [
        ("voc12", "train", 1464),
        ("voc12", "val", 1449),
        ("voc12", "/lists/train_aug.txt", 10582),
        ("voc12", "trainaug", 10582),
        ("coco14", "train", 82081),
        ("coco14", "val", 40137),
        ("voc12", "mine", 5),
        ("folder", None, 5),
    ],
)
def test_complete_sets_give_no_warning(kind, split, num_images):
    assert check_known_set(kind, split, whole(num_images, 16458)) == []


def test_what_is_missing_is_said():
    (warning,) = check_known_set("voc12", "train_aug", whole(10_580, 16_459))
    assert "10,580 images, published are 10,582: 2 missing" in warning
    assert "16,459 pairs, published are 16,458: 1 too many" in warning


def test_published_are_the_labelled_images():
    """COCO's train2014 has 82,783 images, of which 702 show none of the classes."""
    facts = whole(82_783, 240_000) | {"num_kept_unlabelled": 702}
    assert check_known_set("coco14", "train", facts) == []
    (warning,) = check_known_set("coco14", "train", facts | {"num_kept_unlabelled": 703})
    assert "82,080 images, published are 82,081: 1 missing" in warning


def test_classes_without_images_and_images_without_masks():
    facts = count_facts(table((1, 1, [0], b"m"), (1, 1, [0], None)), listing())
    assert check_known_set("folder", None, facts) == [
        "no image is labelled dog, fox",
        "1 of 2 images have no mask",
    ]
    assert check_known_set("folder", None, facts | {"num_masks": 0})[1:] == []


def test_people_see_all_facts():
    images = table((10, 1300, [0, 1], b"m"), (20, 10, [1], None))
    facts = count_facts(images, listing(errors=[("a", "broken")], num_unlabelled=4))
    assert describe(facts).splitlines() == [
        "2 images, 3 pairs (image, class)",
        "left out: 4 that nobody labelled, 1 that cannot be listed",
        "masks: 1, 1 images have none",
        "height: 10 to 20 pixels, median 15",
        "width:  10 to 1,300 pixels, median 655",
        "images per class:",
        "  cat         1",
        "  dog         2",
        "  fox         0",
    ]
