import json

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from qaclims_ray.ingest.facts import (
    COLUMNS,
    check_balance,
    check_known_set,
    check_missing,
    count_facts,
    describe,
)
from qaclims_ray.ingest.sources import Listing
from qaclims_ray.types import SCHEMAS

STORED = ["height", "width", "labels", "mask"]
NAMES = ("cat", "dog", "fox")


def table(*rows):
    schema = pa.schema([SCHEMAS["images"].field(name) for name in STORED])
    stored = pa.Table.from_pylist([dict(zip(STORED, row, strict=True)) for row in rows], schema)
    return list(pads.dataset(stored).to_batches(columns=COLUMNS))


def listing(**more):
    return Listing(sources=[], class_names=NAMES, **({"errors": []} | more))


def test_facts():
    images = table((10, 30, [0, 1], b"m"), (20, 10, [1], None), (60, 20, [], None))
    facts = count_facts([*images, *images], listing(num_unlabelled=4))
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
        "pixels": (200, 300, 1200),
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
    assert "_errors" not in warning
    (warning,) = check_known_set("voc12", "train_aug", whole(10_580, 16_458), num_errors=2)
    assert warning.endswith("2 missing. 2 images could not be used: see its _errors")


@pytest.mark.parametrize(
    ("found", "errors", "published", "most", "message"),
    [
        (4, 6, None, 0.5, r"6 of 10 listed images are missing.*=0\.5 allows\. Each has its reason"),
        (
            10,
            0,
            10_582,
            0.5,
            r"10,572 of 10,582 published images are missing, a larger share",
        ),
        (9, 1, None, 0.0, r"1 of 10 listed images are missing"),
    ],
)
def test_a_set_that_is_mostly_missing_is_refused(found, errors, published, most, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_missing(whole(found, found), errors, published, most)
    assert "set data.max_missing=1" in str(caught.value)
    check_missing(whole(found, found), errors, published, 1.0)


def test_half_of_a_set_may_be_missing():
    check_missing(whole(5, 5), 5, 10, 0.5)
    check_missing(whole(5, 5), 0, None, 0.0)


def test_published_are_the_labelled_images():
    """COCO's train2014 has 82,783 images, of which 702 show none of the classes."""
    facts = whole(82_783, 240_000) | {"num_kept_unlabelled": 702}
    assert check_known_set("coco14", "train", facts) == []
    (warning,) = check_known_set("coco14", "train", facts | {"num_kept_unlabelled": 703})
    assert "82,080 images, published are 82,081: 1 missing" in warning


def test_classes_without_images_and_images_without_masks():
    facts = count_facts(table((1, 1, [0], b"m"), (1, 1, [], None)), listing())
    assert check_known_set("folder", None, facts) == [
        "no image is labelled dog, fox",
        "1 of 2 images have no mask",
    ]
    assert check_known_set("folder", None, facts | {"num_masks": 0})[1:] == []


def test_a_few_of_many_classes_are_named():
    counts = {f"class {number}": 0 for number in range(253)} | {"cat": 4}
    facts = whole(5, 4) | {"images_per_class": counts}
    (warning,) = check_known_set("folder", None, facts)
    assert warning.startswith("no image is labelled class 0, class 1, ")
    assert warning.endswith(", class 4 and 248 more")


def test_errors_are_pointed_at_where_there_are_some():
    facts = whole(10_580, 16_458)
    assert "_errors" not in check_known_set("voc12", "train_aug", facts)[0]
    (warning,) = check_known_set("voc12", "train_aug", facts, num_errors=2)
    assert warning.endswith("2 missing. 2 images could not be used: see its _errors")


def test_a_class_in_every_image_is_said_with_what_to_do():
    facts = count_facts(table(*[(1, 1, [0], None)] * 3, (1, 1, [0, 1], None)), listing())
    warning = check_known_set("folder", None, facts)[-1]
    assert warning.startswith("every image is labelled cat: ")
    assert "Add images without it" in warning
    unlabelled = facts | {"num_images": 5, "num_kept_unlabelled": 1}
    assert check_balance(unlabelled) == [warning]
    assert check_balance(facts | {"num_images": 5}) == []


def test_rare_classes_are_said_with_what_to_do():
    facts = whole(500, 400) | {"images_per_class": {"cat": 300, "dog": 3, "fox": 15, "owl": 16}}
    (warning,) = check_balance(facts)
    assert warning.startswith(
        "2 classes have no more than a 20th of the 300 images of the most frequent class: "
        "dog (3), fox (15). "
    )
    assert "train.classifier.balance=sampling" in warning


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
