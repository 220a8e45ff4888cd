import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from qaclims_ray.images.decode import decode_mask
from qaclims_ray.ingest.sources import load
from qaclims_ray.ingest.webdataset import expand, read_webdataset
from tests.build import jpeg, photo, png, put, tar


@pytest.fixture
def image():
    return jpeg(photo(20, 30))


@pytest.fixture
def mask():
    return png(np.full((20, 30), 2, np.uint8))


def labels(listing):
    return {
        s["name"]: s["labels"] and [listing.class_names[i] for i in s["labels"]]
        for s in listing.sources
    }


def test_labels_of_all_kinds_masks_and_rows(tmp_path, image, mask):
    path = tar(
        tmp_path / "a.tar",
        [
            ("0.jpg", image),
            ("0.cls", "cat\n"),
            ("./sub/1.JPEG", image),
            ("./sub/1.json", json.dumps({"labels": ["dog", "red fox"], "more": 1})),
            ("2.cls", "dining table, cat"),
            ("2.txt", "a table, set for two"),
            ("2.mask.png", mask),
            ("2.png", image),
            ("3.jpg", image),
            ("3.json", '["dog"]'),
            ("3.txt", "a caption that nobody asked for"),
            ("4.jpg", image),
            ("readme", "?"),
        ],
    )
    listing = read_webdataset([path])
    assert listing.class_names == ("cat", "dining table", "dog", "red fox")
    assert labels(listing) == {
        "0": ["cat"],
        "sub__1": ["dog", "red fox"],
        "2": ["cat", "dining table"],
        "3": ["dog"],
    }
    assert (listing.num_unlabelled, listing.errors) == (1, [])
    rows = {row["name"]: row for row in (load(s, num_classes=4) for s in listing.sources)}
    assert all(row["image"] == image for row in rows.values())
    assert set(np.unique(decode_mask(rows["2"]["mask"]))) == {2}
    assert rows["0"]["mask"] is None


def test_class_indices_need_names_from_the_config_or_a_file(tmp_path, image):
    path = tar(tmp_path / "a.tar", [("0.jpg", image), ("0.cls", "1")])
    assert labels(read_webdataset([path], class_names=["cat", "dog"])) == {"0": ["dog"]}
    put(tmp_path / "names.txt", "fox\nowl\n")
    listing = read_webdataset([path], classes_file=str(tmp_path / "names.txt"))
    assert labels(listing) == {"0": ["owl"]}
    with pytest.raises(ValueError, match="class indices only"):
        read_webdataset([path])
    ((name, reason),) = read_webdataset([path], class_names=["cat"]).errors
    assert "a.tar#0.jpg" in name
    assert "unknown class '1'; classes are cat" in reason


def test_images_without_labels_on_request(tmp_path, image):
    path = tar(tmp_path / "a.tar", [("0.jpg", image), ("1.jpg", image)])
    assert read_webdataset([path]).num_unlabelled == 2
    listing = read_webdataset([path], unlabelled=True)
    assert labels(listing) == {"0": None, "1": None}
    assert listing.num_unlabelled == 0
    path = tar(tmp_path / "b.tar", [("0.jpg", image), ("0.cls", ""), ("1.jpg", image)])
    assert labels(read_webdataset([path], unlabelled=True)) == {"0": [], "1": None}


def test_captions_are_no_labels_unless_asked_for(tmp_path, image):
    path = tar(tmp_path / "a.tar", [("0.jpg", image), ("0.txt", "cat"), ("0.json", "{}")])
    assert "expected" in read_webdataset([path]).errors[0][1]
    listing = read_webdataset([path], label_suffixes=["txt"])
    assert (labels(listing), listing.errors) == ({"0": ["cat"]}, [])
    listing = read_webdataset([path], label_suffixes=[])
    assert (listing.num_unlabelled, listing.errors) == (1, [])


def test_braces_stars_and_lists(tmp_path):
    for number in (8, 9, 10):
        tar(tmp_path / f"x-{number:03d}.tar", [])
    wanted = [f"{tmp_path}/x-{number:03d}.tar" for number in (8, 9, 10)]
    assert expand([f"{tmp_path}/x-{{008..010}}.tar"]) == wanted
    assert expand([f"{tmp_path}/*.tar", wanted[0]]) == wanted
    assert expand(["s3://b/{train,val}-{1..2}.tar"]) == [
        "s3://b/train-1.tar",
        "s3://b/train-2.tar",
        "s3://b/val-1.tar",
        "s3://b/val-2.tar",
    ]
    assert expand(["https://x.org/a.tar?key=1"]) == ["https://x.org/a.tar?key=1"]
    with pytest.raises(ValueError, match=r"y\*\.tar: no such tars"):
        expand([f"{tmp_path}/y*.tar"])


def test_what_concerns_one_member_is_recorded(tmp_path, image):
    path = tar(
        tmp_path / "a.tar",
        [
            ("ok.jpg", image),
            ("ok.cls", "cat"),
            ("../out.jpg", image),
            ("/abs.jpg", image),
            ("IMG.2020.jpg", image),
            ("two.jpg", image),
            ("two.png", image),
            ("two.cls", "cat"),
            ("bad.jpg", image),
            ("bad.json", "{"),
            ("big.cls", "x" * 2_000_000),
            ("latin.cls", "caf\xe9".encode("latin-1")),
        ],
    )
    listing = read_webdataset([path])
    assert labels(listing) == {"ok": ["cat"], "two": ["cat"]}
    reasons = "\n".join(reason for _, reason in listing.errors)
    for text in ("../out.jpg", "/abs.jpg", "end at the first dot", "two.jpg is there already"):
        assert text in reasons
    for text in ("bad.json: ", "too many for labels", "latin.cls: "):
        assert text in reasons
    assert len({name for name, _ in listing.errors}) == len(listing.errors) == 7


def test_a_name_in_two_tars_is_recorded(tmp_path, image):
    members = [("0.jpg", image), ("0.cls", "cat")]
    paths = [tar(tmp_path / name, members) for name in ("a.tar", "b.tar")]
    listing = read_webdataset(paths)
    assert [s["name"] for s in listing.sources] == ["0"]
    ((_, reason),) = listing.errors
    assert "b.tar" in reason
    assert "the name '0' is taken by" in reason


def test_a_tar_that_is_cut_off_is_read_up_to_there(tmp_path, image):
    members = [("0.jpg", image), ("0.cls", "cat"), ("1.jpg", image), ("1.cls", "cat")]
    path = tmp_path / "a.tar"
    tar(path, members)
    whole = path.read_bytes()
    first_end = [*read_webdataset([str(path)]).sources][1]["image"].rpartition(":")[2]
    start, size = map(int, first_end.split("+"))
    for keep in (start - 400, start + size - 1):  # within the header, within the content
        path.write_bytes(whole[:keep])
        listing = read_webdataset([str(path)])
        assert labels(listing) == {"0": ["cat"]}
        assert load(next(iter(listing.sources)), num_classes=1)["image"] == image
        assert "damaged or cut off at byte" in listing.errors[0][1]


def test_damage_in_the_middle_is_recorded(tmp_path, image):
    path = tmp_path / "a.tar"
    tar(path, [("0.cls", "cat"), ("0.jpg", image), ("1.jpg", image)])
    content = bytearray(path.read_bytes())
    content[1024 : 1024 + 512] = b"\x07" * 512
    path.write_bytes(content)
    listing = read_webdataset([str(path)])
    assert list(listing.sources) == []
    assert "damaged or cut off at byte 1,024 (no header)" in listing.errors[0][1]


def test_an_image_cut_after_listing_names_its_tar(tmp_path, image):
    path = tmp_path / "a.tar"
    tar(path, [("0.cls", "cat"), ("0.jpg", image)])
    (source,) = read_webdataset([str(path)]).sources
    path.write_bytes(path.read_bytes()[:1800])
    with pytest.raises(ValueError, match=r"a\.tar: cut off, bytes 1,536 to"):
        load(source, num_classes=1)


def test_missing_compressed_and_other_files_say_what_they_are(tmp_path, image):
    with pytest.raises(ValueError, match=r"none\.tar: No such file"):
        read_webdataset([str(tmp_path / "none.tar")])
    packed = tmp_path / "a.tar.gz"
    tar(packed, [("0.jpg", image)], mode="w:gz")
    with pytest.raises(ValueError, match=r"a\.tar\.gz: no tar, or a compressed one"):
        read_webdataset([str(packed)])
    put(tmp_path / "b.tar", b"")
    with pytest.raises(ValueError, match=r"b\.tar: cut off"):
        read_webdataset([str(tmp_path / "b.tar")])


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names(tmp_path, image, format_):
    name = "猫/" + "x" * 200
    path = tar(tmp_path / "a.tar", [(f"{name}.jpg", image), (f"{name}.cls", "cat")], format=format_)
    listing = read_webdataset([path])
    assert labels(listing) == {name.replace("/", "__"): ["cat"]}
    assert load(next(iter(listing.sources)), num_classes=1)["width"] == 30


def test_a_number_sign_in_the_names_of_tar_and_members(tmp_path, image):
    path = tar(tmp_path / "a#1.tar", [("#1.jpg", image), ("#1.cls", "cat")])
    listing = read_webdataset([path])
    assert labels(listing) == {"#1": ["cat"]}
    assert load(next(iter(listing.sources)), num_classes=1)["image"] == image


def test_one_file_of_labels_is_enough_whatever_the_others_hold(tmp_path, image):
    members = [("0.jpg", image), ("0.cls", "cat"), ("0.json", '{"width": 30}'), ("1.jpg", image)]
    members += [("1.json", '{"labels": ["dog"]}'), ("2.json", '{"width": 30}'), ("2.jpg", image)]
    listing = read_webdataset([tar(tmp_path / "a.tar", members)])
    assert labels(listing) == {"0": ["cat"], "1": ["dog"]}
    ((name, reason),) = listing.errors
    assert name.endswith("a.tar#2")
    assert "a.tar#2.json: expected" in reason


def test_labels_and_masks_without_an_image_are_recorded(tmp_path, image, mask):
    members = [("a.jpg", image), ("a.cls", "cat"), ("b.heic", b"?"), ("b.cls", "cat")]
    members += [("c.JFIF", image), ("c.cls", "dog"), ("d.jpg.gz", b"?"), ("d.cls", "dog")]
    members += [("e.mask.png", mask), ("readme", "?")]
    listing = read_webdataset([tar(tmp_path / "a.tar", members)])
    assert labels(listing) == {"a": ["cat"], "c": ["dog"]}
    reasons = [reason.rpartition("#")[2] for _, reason in listing.errors]
    assert reasons == [
        "b.cls: no image belongs to it; b.heic has no suffix of a known format",
        "d.cls: no image belongs to it; d.jpg.gz has no suffix of a known format",
        "e.mask.png: no image belongs to it",
    ]


def test_what_macos_writes_beside_files_is_no_member(tmp_path, image):
    members = [("._0.jpg", b"Mac OS X"), ("0.jpg", image), ("./._0.cls", b"Mac"), ("0.cls", "cat")]
    members += [("__MACOSX/sub/0.jpg", b"?"), ("sub/.DS_Store", b"?"), ("sub/._x.json", b"\0")]
    listing = read_webdataset([tar(tmp_path / "a.tar", members)])
    assert (labels(listing), listing.errors) == ({"0": ["cat"]}, [])


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_are_recorded(tmp_path, image, kind):
    path = tmp_path / "a.tar"
    tar(path, [("0.jpg", image), ("0.cls", "cat"), ("1.cls", "cat")])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = kind, "0.jpg"
        archive.addfile(link)
    listing = read_webdataset([str(path)])
    assert labels(listing) == {"0": ["cat"]}
    reasons = [reason.rpartition("#")[2] for _, reason in listing.errors]
    assert reasons[0].startswith("1.jpg: a link")
    assert reasons[1] == "1.cls: no image belongs to it"


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path, image):
    marked = [("0.cls", "\ufeffcat"), ("1.json", '\ufeff["cat"]')]
    members = [*marked, ("0.jpg", image), ("1.jpg", image)]
    listing = read_webdataset([tar(tmp_path / "a.tar", members)])
    assert labels(listing) == {"0": ["cat"], "1": ["cat"]}


def test_1_and_0_of_all_classes_are_no_class_indices(tmp_path, image):
    members = [("0.jpg", image), ("0.cls", "1,0,1"), ("1.jpg", image), ("1.json", "[0, 0, 1]")]
    with pytest.raises(ValueError, match="every image has 3 labels, all of them 1 or 0"):
        read_webdataset([tar(tmp_path / "a.tar", members)], class_names=["cat", "dog", "fox"])


@pytest.mark.parametrize("label", ["null", "true", '{"name": "cat"}'])
def test_json_labels_of_another_kind_are_recorded(tmp_path, image, label):
    members = [("0.jpg", image), ("0.json", f"[{label}]"), ("1.jpg", image), ("1.cls", "cat")]
    listing = read_webdataset([tar(tmp_path / "a.tar", members)])
    assert (labels(listing), listing.class_names) == ({"1": ["cat"]}, ("cat",))
    assert "is neither a class name nor a class index" in listing.errors[0][1]


def test_a_damaged_header_costs_its_own_tar_at_most(tmp_path, image):
    good = tar(tmp_path / "good.tar", [("9.cls", "cat"), ("9.jpg", image)])
    path = tmp_path / "bad.tar"
    whole = Path(tar(path, [("0.cls", "cat"), ("0.jpg", image), ("1.jpg", image)])).read_bytes()
    signs, chance = [0, 1, 48, 55, 0x80, 0xFF, 32, *b"xgSLK"], random.Random(0)
    for _ in range(300):
        content, start = bytearray(whole), chance.choice([0, 1024])
        for _ in range(chance.randint(1, 3)):
            content[start + chance.randrange(512)] = chance.choice(signs)
        header = content[start : start + 512]
        header[148:156] = b" " * 8
        content[start + 148 : start + 156] = b"%06o\0 " % sum(header)  # as if it were no damage
        path.write_bytes(content)
        listing = read_webdataset([str(path), good])
        assert "9" in {source["name"] for source in listing.sources}
    path.write_bytes(b"\7" * 2048)
    listing = read_webdataset([str(path), good])
    assert [source["name"] for source in listing.sources] == ["9"]
    assert "bad.tar: no tar" in listing.errors[0][1]
