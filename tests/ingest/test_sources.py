import json
import os

import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray.images.decode import decode, decode_mask
from qaclims_ray.ingest.rasterise import refer_to
from qaclims_ray.ingest.sources import MaskError, Source, first_of_each_name, load
from qaclims_ray.ingest.voc12 import read_voc
from tests.build import encode, exif, jpeg, photo, put


def source(image, mask=None, labels=(0,), annotations=None, name="a"):
    return Source(
        name=name,
        image=str(image),
        labels=list(labels),
        mask=None if mask is None else str(mask),
        annotations=annotations,
    )


@pytest.fixture
def image(tmp_path):
    put(tmp_path / "a.jpg", jpeg(photo(20, 30)))
    return tmp_path / "a.jpg"


def put_mask(folder, values):
    put(folder / "a.png", encode(pil.fromarray(np.asarray(values, np.uint8))))
    return folder / "a.png"


def test_a_row_holds_the_file_unchanged_its_size_labels_and_mask(voc):
    listing = read_voc(str(voc), "train")
    row = load(listing.sources[0], num_classes=20)
    assert row["name"] == "a"
    assert row["image"] == (voc / "JPEGImages" / "a.jpg").read_bytes()
    assert (row["height"], row["width"]) == (40, 60)
    assert row["labels"] == [7, 11]
    assert np.unique(decode_mask(row["mask"])).tolist() == [0, 8, 255]
    assert load(listing.sources[1], num_classes=20)["mask"] is None


def test_a_larger_image_is_kept_reduced_while_size_and_mask_stay(tmp_path):
    image = put(tmp_path / "a.png", encode(photo(60, 90)))
    mask = put_mask(tmp_path / "masks", np.eye(60, 90))
    row = load(source(image, mask), num_classes=1, max_side=30)
    assert decode(row["image"]).shape == (20, 30, 3)
    assert (row["height"], row["width"]) == decode_mask(row["mask"]).shape == (60, 90)
    mean = decode(row["image"]).mean((0, 1))
    np.testing.assert_allclose(mean, photo(60, 90).mean((0, 1)), atol=2)
    assert load(source(image), num_classes=1, max_side=90)["image"] == image.read_bytes()


def test_labels_are_sorted_unique_and_legal(image):
    assert load(source(image, labels=(2, 0, 2)), num_classes=3)["labels"] == [0, 2]
    assert load(source(image, labels=()), num_classes=3)["labels"] == []
    for illegal in ((3,), (-1, 0)):
        with pytest.raises(ValueError, match="not all in 0 to 2"):
            load(source(image, labels=illegal), num_classes=3)


def test_a_missing_image_and_things_that_are_no_files(tmp_path):
    with pytest.raises(ValueError, match=r"b\.jpg: No such file"):
        load(source(tmp_path / "b.jpg"), num_classes=1)
    with pytest.raises(ValueError, match="not a file"):
        load(source(tmp_path), num_classes=1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        load(source(tmp_path / "pipe"), num_classes=1)
    with pytest.raises(ValueError, match="too long"):
        load(source(tmp_path / ("x" * 300)), num_classes=1)
    with pytest.raises(ValueError, match=r"not found|No such file"):
        load(source("memory://no/such.jpg"), num_classes=1)


def test_names_of_all_kinds(tmp_path, image):
    for name in ("Ünïcødé 猫", "with space", "x" * 250, "[a]*?", "100%", "#1"):
        path = tmp_path / f"{name}.j"
        path.write_bytes(image.read_bytes())
        assert load(source(path, name=name), num_classes=1)["width"] == 30


def test_an_empty_file_and_the_limit_name_the_file(tmp_path, image):
    put(tmp_path / "b.jpg", b"")
    with pytest.raises(ValueError, match=r"b\.jpg: the file is empty"):
        load(source(tmp_path / "b.jpg"), num_classes=1)
    with pytest.raises(ValueError, match=r"a\.jpg: .*30 x 20 pixels, more than .* 599"):
        load(source(image), num_classes=1, max_pixels=599)


def test_a_mask_of_another_size_names_file_and_sizes(tmp_path, image):
    mask = put_mask(tmp_path, np.zeros((21, 30)))
    with pytest.raises(MaskError, match=r"a\.png: the mask is 30 x 21 .* its image 30 x 20"):
        load(source(image, mask), num_classes=1)


def test_a_mask_value_out_of_range_names_file_and_value(tmp_path, image):
    values = np.zeros((20, 30))
    values[0, :3] = 3, 255, 77
    mask = put_mask(tmp_path, values)
    load(source(image, mask), num_classes=77)
    with pytest.raises(MaskError, match=r"a\.png: mask value 77 is illegal; .* 1 to 76"):
        load(source(image, mask), num_classes=76)


def test_a_broken_or_missing_mask_names_its_file(tmp_path, image):
    put(tmp_path / "m.png", b"no mask")
    with pytest.raises(ValueError, match=r"m\.png: not an image"):
        load(source(image, tmp_path / "m.png"), num_classes=1)
    with pytest.raises(ValueError, match=r"none\.png: No such file"):
        load(source(image, tmp_path / "none.png"), num_classes=1)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_stored_pixels_is_turned_with_its_image(tmp_path, orientation, file_format):
    stored = np.zeros((20, 30), np.uint8)
    stored[:8, :16] = 1  # whole blocks of JPEG
    picture = pil.fromarray(np.repeat(stored[..., None] * 200, 3, axis=2))
    put(tmp_path / "a.jpg", encode(picture, file_format, exif=exif(orientation)))
    row = load(source(tmp_path / "a.jpg", put_mask(tmp_path, stored)), num_classes=1)
    assert (row["height"], row["width"]) == (30, 20)
    np.testing.assert_array_equal(decode_mask(row["mask"]), decode(row["image"])[..., 0] // 200)


def test_a_mask_of_the_shown_pixels_stays(tmp_path):
    shown = np.random.default_rng(0).integers(0, 2, (30, 20), np.uint8)
    picture = pil.fromarray(photo(20, 30))
    put(tmp_path / "a.jpg", encode(picture, "JPEG", exif=exif(6)))
    row = load(source(tmp_path / "a.jpg", put_mask(tmp_path, shown)), num_classes=1)
    np.testing.assert_array_equal(decode_mask(row["mask"]), shown)


def test_instances_become_the_mask(tmp_path, image):
    box = {"iscrowd": 0, "segmentation": [[0, 0, 30, 0, 30, 10, 0, 10]]}
    file = tmp_path / "instances.json"
    file.write_text(f"[1, {json.dumps(box)}]")
    place = (1, 4, len(json.dumps(box)))
    row = load(source(image, annotations=refer_to(str(file), 20, 30, [place])), num_classes=2)
    mask = decode_mask(row["mask"])
    assert set(np.unique(mask[:10])) == {2}
    assert set(np.unique(mask[10:])) == {0}
    with pytest.raises(MaskError, match=r"instances\.json: the mask is 30 x 10"):
        load(source(image, annotations=refer_to(str(file), 10, 30, [place])), num_classes=2)
    file.write_text("[2, 3]" + " " * 99)
    with pytest.raises(ValueError, match=r"instances\.json has changed since it was listed"):
        load(source(image, annotations=refer_to(str(file), 20, 30, [place])), num_classes=2)


def test_the_first_of_each_name_stays():
    listed = [source("x.jpg"), source("b.jpg", name="b"), source("y.jpg")]
    kept, errors = first_of_each_name(listed)
    assert [item["image"] for item in kept] == ["x.jpg", "b.jpg"]
    assert errors == [("a (image 3)", "y.jpg: the name 'a' is taken by x.jpg")]
