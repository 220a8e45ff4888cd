import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pil
from pycocotools import mask as coco_mask

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.ingest.coco14 import CLASSES, read_coco
from qaclims_ray.ingest.rasterise import has_outline, rasterise
from qaclims_ray.ingest.sources import load
from tests.build import encode, photo, put

SIZE = {"height": 20, "width": 30}
UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORY_IDS = [number for number in range(1, 91) if number not in UNUSED_IDS]
COCO80 = dict(zip(CATEGORY_IDS, CLASSES, strict=True))
WHOLE = coco_mask.encode(np.ones((20, 30), np.uint8, order="F"))
LARGE = coco_mask.encode(np.ones((40, 60), np.uint8, order="F"))


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def instance(image_id, category_id, *polygons, **more):
    base = {"image_id": image_id, "category_id": category_id, "iscrowd": 0, "id": 1, "area": 1.5}
    return base | {"segmentation": list(polygons)} | more


def crowd(image_id, category_id, region):
    counts, value = [], 0
    flat = region.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    for start, end in zip([0, *changes], [*changes, len(flat)], strict=True):
        counts.append(end - start)
    assert value == 0
    code = {"counts": counts, "size": list(region.shape)}
    return instance(image_id, category_id, iscrowd=1) | {"segmentation": code}


def dataset(
    root, annotations, images=(9, 25, 30), split="train", indent=None, categories=COCO80, mark=""
):
    listed = [
        {"id": i, "file_name": f"COCO_{split}2014_{i:012d}.jpg", "license": 3, **SIZE}
        for i in images
    ]
    for image in listed:
        picture = pil.fromarray(photo(20, 30, image["id"]))
        put(root / f"{split}2014" / image["file_name"], encode(picture, "JPEG"))
    content = {
        "info": {"description": 'a "[tricky}, text\\'},
        "images": listed,
        "licenses": [],
        "annotations": annotations,
        "categories": [{"id": i, "name": categories[i]} for i in reversed(categories)],
    }
    path = root / "annotations" / f"instances_{split}2014.json"
    put(path, mark + json.dumps(content, indent=indent))
    return str(root)


@pytest.fixture
def coco(tmp_path):
    table = instance(9, 67, box(0, 0, 30, 20))
    cup = instance(9, 47, box(10, 5, 14, 9))
    person = instance(25, 1, box(0, 0, 5, 5), box(20, 10, 25, 15))
    group = np.zeros((20, 30), np.uint8)
    group[:, :15] = 1
    return dataset(tmp_path, [cup, table, person, crowd(25, 1, group)])


def test_the_81_ids():
    assert len(CLASSES) == len(set(CLASSES)) == len(CATEGORY_IDS) == 80
    known = {1: "person", 13: "stop sign", 27: "backpack", 44: "bottle", 67: "dining table"}
    known |= {70: "toilet", 72: "tv", 84: "book", 90: "toothbrush"}
    assert {number: CLASSES[CATEGORY_IDS.index(number)] for number in known} == known


def test_names_labels_and_images_without_labels(coco):
    listing = read_coco(coco, "train")
    assert [source["name"] for source in listing.sources] == [
        "COCO_train2014_000000000009",
        "COCO_train2014_000000000025",
    ]
    labels = [[CLASSES[i] for i in source["labels"]] for source in listing.sources]
    assert labels == [["cup", "dining table"], ["person"]]
    assert listing.num_unlabelled == 1
    assert listing.errors == []


def test_smaller_objects_lie_on_top_and_crowds_are_ignored(coco):
    table, person = (load(s, num_classes=80) for s in read_coco(coco, "train").sources)
    mask = decode_mask(table["mask"])
    assert set(np.unique(mask)) == {42, 61}
    assert (mask == 42).sum() == 16
    assert set(np.unique(mask[5:9, 10:14])) == {42}
    mask = decode_mask(person["mask"])
    assert set(np.unique(mask[:5, :5])) == {1}  # an object within the crowd keeps its class
    assert set(np.unique(mask[6:, :15])) == {255}
    assert set(np.unique(mask[10:15, 20:25])) == {1}
    assert set(np.unique(mask[:10, 16:])) == {0}


def test_rasterising_agrees_with_cocos_own_tools():
    rng = np.random.default_rng(0)
    for _ in range(20):
        polygon = (rng.random(10) * 20).tolist()
        item = {"label": 4, "iscrowd": 0, "segmentation": [polygon]}
        region = rasterise([item], **SIZE) == 5
        expected = coco_mask.decode(coco_mask.frPyObjects([polygon], 20, 30))[..., 0]
        np.testing.assert_array_equal(region, expected.astype(bool))


def test_the_compressed_code_of_a_region():
    region = np.zeros((20, 30), np.uint8, order="F")
    region[3:7, 2:9] = 1
    code = coco_mask.encode(region)
    item = {"size": [20, 30], "counts": code["counts"].decode()}
    objects = [{"label": 0, "iscrowd": 0, "segmentation": item}]
    np.testing.assert_array_equal(rasterise(objects, **SIZE), region)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_any_compressed_region_is_that_of_cocos_own_tools(height, width, seed):
    region = np.asfortranarray(np.random.default_rng(seed).integers(0, 2, (height, width), "u1"))
    code = coco_mask.encode(region)
    item = {"size": [height, width], "counts": code["counts"].decode()}
    drawn = rasterise([{"label": 0, "segmentation": item}], height=height, width=width)
    np.testing.assert_array_equal(drawn, region)


def test_a_polygon_of_two_corners_is_no_region():
    item = {"label": 0, "iscrowd": 0, "segmentation": [[1, 1, 9, 9]]}
    assert rasterise([item], **SIZE).max() == 0


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "leaves the image"),
        ([[0, 0, float("nan"), 0, 3, 3]], "leaves the image"),
        ({"size": [30, 20], "counts": [600]}, "pixels in size"),
        ({"size": [20, 30], "counts": [599]}, "do not fill"),
        ({"size": [20, 30], "counts": [-1, 601]}, "do not fill"),
        ({"size": [20, 30], "counts": [600.0]}, "do not fill"),
        ({"size": [20, 30], "counts": LARGE["counts"].decode()}, "do not fill"),
        ({"size": [20, 30], "counts": WHOLE["counts"].decode()[:-1]}, "cut off|do not fill"),
        ({"size": [20, 30], "counts": ""}, "do not fill"),
        ({"size": [20, 30], "counts": "zzzz"}, "damaged"),
        ({"size": [20, 30], "counts": "é0"}, "damaged"),
        ({"size": [20, 30], "counts": "o" * 1000}, "damaged"),
        ([[0, 0, 9, 0, 9, 9, 3]], "has 7 numbers"),
        ({"size": [20, 30]}, "neither polygons nor run lengths"),
        (None, "neither polygons nor run lengths"),
        ([[None] * 6], "neither polygons nor run lengths"),
    ],
)
def test_segmentations_that_do_not_fit_are_refused(segmentation, reason):
    item = {"label": 0, "iscrowd": 0, "segmentation": segmentation}
    with pytest.raises(ValueError, match=reason):
        rasterise([item], **SIZE)


def test_an_unknown_category_or_image_is_recorded(tmp_path):
    polygon = box(0, 0, 9, 9)
    bad = [instance(9, 12, polygon), instance(77, 1, polygon), instance(25, 1, polygon)]
    listing = read_coco(dataset(tmp_path, bad), "train")
    assert [source["name"][-2:] for source in listing.sources] == ["25"]
    reasons = dict(listing.errors)
    assert "category 12" in reasons["image 9"]
    assert "does not list" in reasons["image 77"]


def test_layout_of_the_json_does_not_matter(tmp_path):
    parts = [instance(9, 1, box(0, 0, 9, 9)), instance(25, 2, box(0, 0, 9, 9))]
    compact = read_coco(dataset(tmp_path / "a", parts), "train")
    pretty = read_coco(dataset(tmp_path / "b", parts, indent=2), "train")
    rows = [[load(s, num_classes=80) for s in listing.sources] for listing in (compact, pretty)]
    assert len(rows[0]) == 2
    assert rows[0] == rows[1]


@pytest.mark.parametrize("keep", [0, 1, 30, 200, 700, -1])
def test_a_cut_off_file_names_itself(coco, tmp_path, keep):
    path = tmp_path / "annotations" / "instances_train2014.json"
    path.write_text(path.read_text()[:keep])
    with pytest.raises(ValueError, match=r"instances_train2014\.json: broken JSON"):
        read_coco(coco, "train")


def test_a_file_of_another_kind(tmp_path):
    root = dataset(tmp_path, [{"image_id": 9, "caption": "a dog"}])
    with pytest.raises(ValueError, match=r"train2014\.json: no COCO instances: none of its"):
        read_coco(root, "train")
    with pytest.raises(ValueError, match=r"no COCO instances: it lists no categories"):
        read_coco(dataset(tmp_path, [instance(9, 1)], categories={}), "train")
    with pytest.raises(ValueError, match=r"instances_val2014\.json: No such file"):
        read_coco(root, "val")


def test_images_without_instances_on_request(coco):
    listing = read_coco(coco, "train", unlabelled=True)
    assert len(listing.sources) == 3
    assert listing.num_unlabelled == 0
    row = load(listing.sources[-1], num_classes=80)
    assert (row["labels"], row["mask"]) == (None, None)


def test_instances_and_images_elsewhere(coco, tmp_path):
    (tmp_path / "annotations" / "instances_train2014.json").rename(tmp_path / "own.json")
    (tmp_path / "train2014").rename(tmp_path / "pictures")
    listing = read_coco(
        coco, "val", annotations=str(tmp_path / "own.json"), images=str(tmp_path / "pictures")
    )
    assert [load(s, num_classes=80)["width"] for s in listing.sources] == [30, 30]


def test_the_categories_of_the_file_are_the_classes(tmp_path):
    own = {7: "scratch", 1: "crack", 0: "background"}
    parts = [instance(9, 1, box(0, 0, 9, 9)), instance(25, 7, box(0, 0, 9, 9))]
    listing = read_coco(dataset(tmp_path, parts, categories=own), "train")
    assert listing.class_names == ("crack", "scratch")
    assert [source["labels"] for source in listing.sources] == [[0], [1]]
    masks = [decode_mask(load(s, num_classes=2)["mask"]) for s in listing.sources]
    assert [mask.max() for mask in masks] == [1, 2]


def test_categories_are_mapped_to_cocos_where_these_are_wanted(tmp_path):
    own = {3: "automobile", 1: "dog"}
    parts = [instance(9, 1, box(0, 0, 9, 9)), instance(25, 3, box(0, 0, 9, 9))]
    root = dataset(tmp_path, parts, categories=own)
    listing = read_coco(root, "train", classes={"automobile": "car"})
    assert listing.class_names == CLASSES
    assert [source["labels"] for source in listing.sources] == [
        [CLASSES.index("dog")],
        [CLASSES.index("car")],
    ]
    ((name, reason),) = read_coco(root, "train", classes={}).errors
    assert name == "image 25"
    assert "'automobile' is no class" in reason
    with pytest.raises(ValueError, match="'cars' is no one of COCO's 80 classes; did you mean"):
        read_coco(root, "train", classes={"automobile": "cars"})
    with pytest.raises(ValueError, match="'auto' is no category of the file"):
        read_coco(root, "train", classes={"auto": "car"})


def test_two_categories_of_one_name_are_one_class_and_of_one_id_an_error(tmp_path):
    own = {3: "caf\u00e9", 5: "cafe\u0301"}
    parts = [instance(9, 3, box(0, 0, 9, 9)), instance(25, 5, box(0, 0, 9, 9))]
    root = dataset(tmp_path, parts, categories=own)
    listing = read_coco(root, "train")
    assert listing.class_names == ("caf\u00e9",)
    assert [source["labels"] for source in listing.sources] == [[0], [0]]
    path = tmp_path / "annotations" / "instances_train2014.json"
    path.write_text(path.read_text().replace('"id": 5', '"id": 3').replace("cafe\\u0301", "bar"))
    with pytest.raises(ValueError, match="two categories have the id 3"):
        read_coco(root, "train")


@pytest.mark.parametrize("category", [None, 95, "1", [1], {"id": 1}, 1.5])
def test_an_annotation_without_a_known_category_costs_its_image_only(tmp_path, category):
    polygon = box(0, 0, 9, 9)
    bad = [instance(9, 1, polygon), instance(9, category, polygon), instance(25, 1, polygon)]
    listing = read_coco(dataset(tmp_path, bad), "train")
    assert [source["name"][-2:] for source in listing.sources] == ["25"]
    ((name, reason),) = listing.errors
    assert name == "image 9"
    assert "is none of the file's categories" in reason


@pytest.mark.parametrize("image", [None, [9], {"id": 9}])
def test_an_annotation_of_no_image_is_recorded(tmp_path, image):
    polygon = box(0, 0, 9, 9)
    root = dataset(tmp_path, [instance(image, 1, polygon), instance(25, 1, polygon)])
    listing = read_coco(root, "train")
    assert [source["name"][-2:] for source in listing.sources] == ["25"]
    assert [reason for _, reason in listing.errors] == ["it lacks image_id"]


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        None,
        [[]],
        [[1, 1, 9, 9]],
        [1, 1, 9, 1, 9, 9],
        [[[1, 1], [9, 1], [9, 9]]],
        [{"x": 1, "y": 1}],
        [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]],
        [["1", "1", "9", "1", "9", "9"]],
        {"counts": "PPYo0"},
        "PPYo0",
    ],
)
def test_an_object_without_outline_leaves_its_image_without_ground_truth(tmp_path, segmentation):
    assert not has_outline(segmentation)
    boxed = instance(9, 1) | {"segmentation": segmentation, "bbox": [1, 1, 8, 8]}
    parts = [boxed, instance(9, 2, box(0, 0, 9, 9)), instance(25, 1, box(0, 0, 9, 9))]
    listing = read_coco(dataset(tmp_path, parts), "train")
    assert listing.errors == []
    rows = [load(source, num_classes=80) for source in listing.sources]
    assert [(row["labels"], row["mask"] is None) for row in rows] == [([0, 1], True), ([0], False)]
    (warning,) = listing.warnings
    assert warning.startswith("1 images have no ground truth")
    assert warning.endswith("COCO_train2014_000000000009")


def test_an_annotation_without_segmentation_leaves_its_image_without_ground_truth(tmp_path):
    boxed = instance(9, 1)
    del boxed["segmentation"]
    (source,) = read_coco(dataset(tmp_path, [boxed]), "train").sources
    assert (source["labels"], source["annotations"]) == ([0], None)


def test_two_images_of_one_id_are_an_error_that_names_both(tmp_path):
    parts = [instance(9, 1, box(0, 0, 9, 9)), instance(25, 1, box(0, 0, 9, 9))]
    root = dataset(tmp_path, parts)
    path = tmp_path / "annotations" / "instances_train2014.json"
    path.write_text(path.read_text().replace('"id": 30', '"id": 9'))
    listing = read_coco(root, "train")
    assert [source["name"][-2:] for source in listing.sources] == ["25"]
    ((_, reason),) = listing.errors
    assert "000009.jpg and COCO_train2014_000000000030.jpg have the same id" in reason


def test_an_image_of_unknown_size_has_labels_and_no_ground_truth(tmp_path):
    root = dataset(tmp_path, [instance(9, 1, box(0, 0, 9, 9))])
    path = tmp_path / "annotations" / "instances_train2014.json"
    path.write_text(path.read_text().replace('"height": 20', '"height": null'))
    (source,) = read_coco(root, "train").sources
    assert (source["labels"], source["annotations"]) == ([0], None)


def test_a_byte_order_mark_is_skipped(tmp_path):
    root = dataset(tmp_path, [instance(9, 1, box(0, 0, 9, 9))], mark="\ufeff")
    (source,) = read_coco(root, "train").sources
    assert decode_mask(load(source, num_classes=80)["mask"])[:9, :9].min() == 1


@pytest.mark.parametrize(
    ("crowds", "overlap", "values"),
    [
        ("ignore", "larger_first", [255, 2, 3, 3]),
        ("class", "larger_first", [1, 2, 3, 3]),
        ("drop", "larger_first", [0, 2, 3, 3]),
        ("ignore", "file_order", [255, 255, 255, 2]),
        ("class", "file_order", [1, 1, 1, 2]),
        ("drop", "file_order", [0, 2, 2, 2]),
    ],
)
def test_how_crowds_and_overlaps_are_drawn(tmp_path, crowds, overlap, values):
    """From left to right: the crowd; on it the large object; on both the small one; no crowd."""
    group = np.zeros((20, 30), np.uint8)
    group[:, :20] = 1
    small, large = instance(9, 3, box(10, 0, 25, 20)), instance(9, 2, box(5, 0, 30, 20))
    root = dataset(tmp_path, [small, large, crowd(9, 1, group)])
    (source,) = read_coco(root, "train", crowds=crowds, overlap=overlap).sources
    mask = decode_mask(load(source, num_classes=80)["mask"])
    assert mask[10, [2, 7, 15, 22]].tolist() == values
    assert source["labels"] == [0, 1, 2]
