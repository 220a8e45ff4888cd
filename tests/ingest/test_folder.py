import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as pil

from qaclims_ray.ingest.folder import read_folder
from qaclims_ray.ingest.label_files import parse_jsonl
from qaclims_ray.ingest.label_table import parse_csv
from qaclims_ray.ingest.sources import load
from tests.build import encode, jpeg, photo, put


@pytest.fixture
def root(tmp_path):
    image = jpeg(photo(20, 30))
    for path in ("a.jpg", "b.jpeg", "sub/c.jpg", "sub/deep/d.jpg", ".DS_Store"):
        put(tmp_path / "images" / path, image)
    mask = encode(pil.fromarray(np.full((20, 30), 2, np.uint8)))
    put(tmp_path / "masks" / "sub" / "c.png", mask)
    return tmp_path


def read(root, text, file="labels.csv", **options):
    put(root / file, text)
    return read_folder(str(root), **options)


def is_image(cell):
    return cell.endswith(".jpg")


def labels(listing):
    return {
        s["name"]: s["labels"] and [listing.class_names[i] for i in s["labels"]]
        for s in listing.sources
    }


def test_csv_with_class_names(root):
    listing = read(root, "image,labels\na.jpg,dog;cat\nb,cat\nsub/c.jpg,red fox, dog\n")
    assert listing.class_names == ("cat", "dog", "red fox")
    assert labels(listing) == {"a": ["cat", "dog"], "b": ["cat"], "sub__c": ["dog", "red fox"]}
    assert listing.num_unlabelled == 1
    assert listing.errors == []


def test_masks_are_found_and_rows_load(root):
    listing = read(root, "a.jpg,x\nsub/c.jpg,y\n")
    assert [s["mask"] for s in listing.sources] == [None, f"{root}/masks/sub/c.png"]
    rows = [load(source, num_classes=2) for source in listing.sources]
    assert [(row["name"], row["labels"]) for row in rows] == [("a", [0]), ("sub__c", [1])]


def test_images_and_masks_may_lie_on_another_disk(root, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    for name in ("images", "masks"):
        (root / name).rename(disk / name)
        (root / name).symlink_to(disk / name)
    listing = read(root, "a.jpg,x\nsub/c.jpg,y\n")
    assert [s["mask"] for s in listing.sources] == [None, f"{root}/masks/sub/c.png"]


def test_jsonl_with_names_and_indices(root):
    lines = [{"image": "a.jpg", "labels": ["cat", 2]}, {"image": "b.jpeg", "labels": []}]
    text = "\n".join(map(json.dumps, lines))
    listing = read(root, text, "labels.jsonl", class_names=["cat", "dog", "fox"])
    assert labels(listing) == {"a": ["cat", "fox"], "b": []}


def test_names_from_classes_txt_or_the_config(root):
    put(root / "classes.txt", "dog\ncat\n\n")
    listing = read(root, "a.jpg,0\nb,1;dog")
    assert listing.class_names == ("dog", "cat")
    assert labels(listing) == {"a": ["dog"], "b": ["dog", "cat"]}
    assert read_folder(str(root), class_names=["x", "dog"]).class_names == ("x", "dog")


def test_a_class_may_be_called_by_a_number(root):
    assert labels(read(root, "a.jpg,7", class_names=["5", "7"])) == {"a": ["7"]}


def test_indices_without_names_are_an_error(root):
    with pytest.raises(ValueError, match=r"class indices only; write .* classes\.txt"):
        read(root, "a.jpg,0\nb,1")


def test_several_lines_about_one_image_add_up(root):
    assert labels(read(root, "a.jpg,dog\nb,dog\na,cat\n")) == {
        "a": ["cat", "dog"],
        "b": ["dog"],
    }


def test_errors_name_their_lines(root):
    text = "image,label\na.jpg,cat\n\nnone.jpg,cat\nb.jpeg,cta\nsub/c.jpg,9\n"
    listing = read(root, text, class_names=["cat", "dog"])
    assert list(labels(listing)) == ["a"]
    reasons = dict(listing.errors)
    assert "line 4: no image 'none.jpg'" in reasons["none.jpg (line 4)"]
    assert "line 5: unknown class 'cta'; did you mean 'cat'?" in reasons["images/b.jpeg (line 5)"]
    assert "line 6: unknown class '9'; classes are cat, dog" in reasons["images/sub/c.jpg (line 6)"]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"image": 3, "labels": []}', '{"image": "a"}'])
def test_broken_json_lines_are_recorded(root, line):
    text = json.dumps({"image": "a", "labels": ["cat"]}) + "\n" + line
    listing = read(root, text, "labels.jsonl")
    assert labels(listing) == {"a": ["cat"]}
    assert [name for name, _ in listing.errors] == ["labels.jsonl (line 2)"]


def test_equal_names_of_two_files_are_recorded(root):
    put(root / "images" / "a.png", b"")
    put(root / "images" / "sub__c.jpg", b"")
    listing = read(root, "a.jpg,x\na.png,x\nsub/c.jpg,x\nsub__c.jpg,x\n")
    assert list(labels(listing)) == ["a", "sub__c"]
    assert [name for name, _ in listing.errors] == ["a (image 2)", "sub__c (image 4)"]


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/passwd", "file:///etc/passwd", "sub/../a.jpg"]
)
def test_no_name_leaves_the_folder(root, name):
    put(root / "secret.jpg", b"")
    listing = read(root, f"a.jpg,x\n{name},x\n")
    assert list(labels(listing)) == ["a"]
    assert len(listing.errors) == 1


def test_urls_are_taken_as_they_are(root):
    listing = read(root, "https://example.org/x/p.jpg,cat\n")
    assert listing.sources[0]["image"] == "https://example.org/x/p.jpg"
    assert listing.sources[0]["name"] == "p"


def test_both_spellings_of_an_accent_are_one_name(root):
    put(root / "images" / unicodedata.normalize("NFD", "été.jpg"), b"")
    assert list(labels(read(root, unicodedata.normalize("NFC", "été.jpg,x")))) == ["été"]


def test_files_of_spreadsheet_programs(root):
    assert labels(read(root, '\ufeffimage,labels\r\n"a.jpg","cat;dog"\r\n')) == {
        "a": ["cat", "dog"]
    }


@pytest.mark.parametrize("broken", ['b,"dog', 'b,"dog" owl', '"b,dog'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stray_quote_costs_its_line_only(root, broken, end):
    text = end.join(["image,labels", "a.jpg,cat", broken, 'sub/c.jpg,"cat"', ""])
    listing = read(root, text.encode())
    assert labels(listing) == {"a": ["cat"], "sub__c": ["cat"]}
    assert listing.class_names == ("cat",)
    ((name, reason),) = listing.errors
    assert name == "labels.csv (line 3)"
    assert "quotes stand at its two ends" in reason


def test_quotes_within_a_cell_and_around_commas_are_fine():
    lines, errors = parse_csv('"a, b.jpg", "5"" disk;cat"\nc 5".jpg,dog\n', is_image)
    assert [(line.image, line.labels) for line in lines] == [
        ("a, b.jpg", ['5" disk', "cat"]),
        ('c 5".jpg', ["dog"]),
    ]
    assert errors == []


def test_a_missing_labels_file_says_what_is_expected(root):
    with pytest.raises(ValueError, match=r"no labels\.csv or labels\.jsonl; expected lines"):
        read_folder(str(root))


def test_text_in_another_encoding_is_named(root):
    with pytest.raises(ValueError, match=r"labels\.csv: not UTF-8"):
        read(root, "a.jpg,caf\xe9".encode("latin1"))


@given(st.text(max_size=200))
def test_any_text_is_lines_or_errors(text):
    for parse in (lambda text: parse_csv(text, is_image), parse_jsonl):
        # Not as the first line, which may be a header, and then a wrong one.
        lines, errors = parse(f"a.jpg,cat\n{text}")
        assert all(line.number >= 1 for line in lines)
        assert all(number >= 1 for number, _ in errors)


def test_a_column_or_key_names_masks(root):
    put(root / "masks" / "other.png", b"")
    text = "file,mask,labels\na.jpg,other.png,cat\nsub/c.jpg,,cat;dog\nb.jpeg,../x.png,cat\n"
    listing = read(root, text)
    masks = {s["name"]: s["mask"] for s in listing.sources}
    assert masks == {"a": f"{root}/masks/other.png", "sub__c": f"{root}/masks/sub/c.png"}
    assert labels(listing) == {"a": ["cat"], "sub__c": ["cat", "dog"]}
    assert "'../x.png' is not a path below its folder" in listing.errors[0][1]
    line = {"image": "a", "labels": ["cat"], "mask": "https://x.org/m.png"}
    (root / "labels.csv").unlink()
    listing = read(root, json.dumps(line), "labels.jsonl")
    assert listing.sources[0]["mask"] == "https://x.org/m.png"


def test_a_labels_file_of_another_name_or_place(root, tmp_path_factory):
    put(root / "labels.csv", "a.jpg,cat")
    assert labels(read(root, "b,dog", "mine/some.csv", labels_file="mine/some.csv")) == {
        "b": ["dog"]
    }
    other = tmp_path_factory.mktemp("other") / "x.jsonl"
    put(other, '{"image": "b", "labels": ["owl"]}')
    assert labels(read_folder(str(root), labels_file=str(other))) == {"b": ["owl"]}


def test_images_without_labels_on_request(root):
    everything = read_folder(str(root), unlabelled=True)
    assert labels(everything) == dict.fromkeys(["a", "b", "sub__c", "sub__deep__d"])
    assert (everything.class_names, everything.num_unlabelled) == ((), 0)
    listing = read(root, "a.jpg,cat\nb\n", unlabelled=True)
    assert labels(listing) == {"a": ["cat"], "b": [], "sub__c": None, "sub__deep__d": None}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,labels,width,split", "has the columns 'width', 'split': legal are 'image', 'lab"),
        ("image,cat,dog", "has the columns 'cat', 'dog'"),
        ("name,mask", "has no labels"),
    ],
)
def test_a_header_with_other_columns_is_an_error(root, header, message):
    with pytest.raises(ValueError, match=rf"labels\.csv: the header '{header}' {message}"):
        read(root, f"{header}\na.jpg,x,1,train\n")


@pytest.mark.parametrize(
    "header", ["File,Class 1,class 2", "image,label_1,label_2", "name,labels,"]
)
def test_columns_of_labels_may_have_several_names(root, header):
    assert labels(read(root, f"{header}\na.jpg,cat,dog\n")) == {"a": ["cat", "dog"]}


def test_a_class_name_that_comes_twice_is_an_error(root):
    with pytest.raises(
        ValueError, match=r"data\.class_names: class names must differ.*'cat' comes"
    ):
        read(root, "a.jpg,cat", class_names=["cat", "dog", "cat"])
    put(root / "classes.txt", "cat\ncat\n")
    with pytest.raises(ValueError, match=r"classes\.txt: class names must differ"):
        read(root, "a.jpg,cat")


def test_an_unknown_class_among_many_names_the_nearest_or_a_few(root):
    many = [f"class {number}" for number in range(300)]
    listing = read(root, "a.jpg,clas 17\nb,???\n", class_names=many)
    reasons = [reason for _, reason in listing.errors]
    assert "did you mean 'class 17'?" in reasons[0]
    assert reasons[1].endswith("class 2, class 3, class 4 and 295 more")


@pytest.mark.parametrize("url", ["https://example.org/x/", "s3://b/", "https://h/a/?id=1"])
def test_a_url_without_a_file_is_recorded(root, url):
    listing = read(root, f"a.jpg,cat\n{url},cat\n")
    assert list(labels(listing)) == ["a"]
    assert "names no file" in listing.errors[0][1]


def test_urls_of_one_name_are_an_error_that_names_both(root):
    urls = "s3://b/cats/1.jpg", "s3://b/dogs/1.jpg"
    listing = read(root, f"{urls[0]},cat\n{urls[1]},dog\n")
    assert labels(listing) == {"1": ["cat"]}
    ((_, reason),) = listing.errors
    assert all(url in reason for url in urls)


def test_no_line_of_a_header_becomes_a_class(root):
    listing = read(root, "image_id,label\na.jpg,cat\nb,dog\nsub/c.jpg,person\n")
    assert listing.class_names == ("cat", "dog", "person")
    assert (listing.num_unlabelled, listing.errors) == (1, [])


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("a.jpg,1,0,0\nb,0,1,1\n", "labels.csv"),
        ("image,label_1,label_2\na.jpg,1,0\nb,0,1\n", "labels.csv"),
        ('{"image": "a", "labels": [1, 0]}\n{"image": "b", "labels": [1, 1]}', "labels.jsonl"),
    ],
)
def test_1_and_0_without_names_of_classes_are_no_class_indices(root, text, file):
    with pytest.raises(ValueError, match="labels, all of them 1 or 0: columns of classes"):
        read(root, text, file, class_names=["healthy", "rust", "scab"])


def test_class_indices_1_and_0_are_fine_where_images_differ(root):
    assert labels(read(root, "a.jpg,1;0\nb,1\n", class_names=["x", "y"])) == {
        "a": ["x", "y"],
        "b": ["y"],
    }


@pytest.mark.parametrize("label", ["null", "true", '{"name": "cat"}', "-1", "1.5", '""', "[]"])
def test_json_labels_that_are_neither_name_nor_index_are_errors_of_their_line(root, label):
    text = f'{{"image": "a", "labels": [{label}]}}\n{{"image": "b", "labels": ["cat"]}}\n'
    listing = read(root, text, "labels.jsonl")
    assert labels(listing) == {"b": ["cat"]}
    assert listing.class_names == ("cat",)
    ((name, reason),) = listing.errors
    assert name == "labels.jsonl (line 1)"
    assert "is neither a class name nor a class index" in reason


def test_spellings_of_one_class_are_one(root):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    text = f"a.jpg,{composed}  noir\nb,{decomposed} noir\n"
    assert read(root, text).class_names == (f"{composed} noir",)
    given = read(root, text, class_names=[f"{decomposed} noir"])
    assert labels(given) == {"a": [f"{composed} noir"], "b": [f"{composed} noir"]}
    put(root / "classes.txt", f"{decomposed} noir\n{composed} noir\n")
    with pytest.raises(ValueError, match="comes twice"):
        read(root, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.jpg,cat\nb,1\n", r"are class indices \('cat' is not\); write the class"),
        ("a.jpg,cat\nb,nan\n", "the label 'nan' is neither"),
        ("a.jpg,cat\nb,0 1 0\n", "the label '0 1 0' is neither"),
        ("a.jpg,cat\nb,0.75\n", "the label '0.75' is neither"),
        ("a.jpg,Cat\nb,cat\n", "'Cat' and 'cat' differ in capitals only"),
        ("a.jpg,rust\nb,scab rust\nsub/c,scab\n", "the label 'scab rust' is one class, and so"),
    ],
)
def test_labels_that_are_more_likely_a_mistake_need_a_list_of_classes(root, text, reason):
    with pytest.raises(ValueError, match=reason):
        read(root, text)


def test_bars_separate_labels_too(root):
    text = "Image Index,Finding Labels\na.jpg,Hernia|Mass\nb,Mass\n"
    assert read(root, text).class_names == ("Hernia", "Mass")


@pytest.mark.parametrize(
    "name", ["background", "_background_", "Background", "__ignore__", "background:0,0,0::", "BG"]
)
def test_a_background_is_no_class(root, name):
    with pytest.raises(ValueError, match=r"data\.class_names: '.*' is no class: in masks 0 is"):
        read(root, "a.jpg,cat", class_names=[name, "cat"])
    put(root / "classes.txt", f"{name}\ncat\n")
    with pytest.raises(ValueError, match=r"classes\.txt: '.*' is no class"):
        read(root, "a.jpg,cat")


def test_a_file_beside_a_picture_does_not_take_its_name(root):
    for name in ("a.json", "b.xml", "sub/c.txt", "a.jpg.json", "e.json"):
        put(root / "images" / name, "{}")
    listing = read(root, "a,cat\nb,dog\nsub/c,cat\n")
    assert [source["image"].rpartition("/")[2] for source in listing.sources] == [
        "a.jpg",
        "b.jpeg",
        "c.jpg",
    ]
    assert listing.errors == []
    everything = read_folder(str(root), unlabelled=True)
    assert set(labels(everything)) == {"a", "b", "sub__c", "sub__deep__d", "e"}


def test_a_line_that_fits_two_pictures_is_an_error_that_names_both(root):
    put(root / "images" / "a.png", b"")
    listing = read(root, "a,cat\nb,dog\n")
    assert labels(listing) == {"b": ["dog"]}
    ((_, reason),) = listing.errors
    assert "line 1: 'a' fits images/a.jpg and images/a.png: write its suffix" in reason
    assert labels(read(root, "a.png,cat\n")) == {"a": ["cat"]}


def test_masks_that_belong_to_no_image_are_said(root):
    for name in ("a.jpg", "b.PNG", "sub/deep/d.png", "named.png"):
        put(root / "masks" / name, b"")
    listing = read(root, "image,labels,mask\na.jpg,cat,named.png\nb,dog,\n")
    (warning,) = listing.warnings
    assert warning.startswith(
        "2 of 5 files in the folder masks belong to no image, as masks/a.jpg, masks/b.PNG: "
    )
    for name in ("a.jpg", "b.PNG"):
        (root / "masks" / name).unlink()
    assert read_folder(str(root)).warnings == ()
