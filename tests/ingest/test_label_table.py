import pytest

from qaclims_ray.ingest.label_table import parse_csv

IMAGES = {"a.jpg", "b.jpg", "a", "b", "image.jpg", "image"}


def read(text):
    lines, errors = parse_csv(text, IMAGES.__contains__)
    return {line.image: line.labels for line in lines}, errors


@pytest.mark.parametrize(
    "header",
    [
        "image_id,label",
        "Image ID,Labels",
        "ImageName,tags",
        "img_path,category",
        "Image Index,Finding Labels",
        "id,class_name",
        "photograph,class",
    ],
)
def test_a_first_line_that_names_no_image_is_a_header(header):
    assert read(f"{header}\na.jpg,cat\nb,dog;red fox\n") == (
        {"a.jpg": ["cat"], "b": ["dog", "red fox"]},
        [],
    )


def test_a_first_line_that_names_an_image_is_none():
    assert read("image,cat\na,dog\n")[0] == {"image": ["cat"], "a": ["dog"]}
    assert read("image,label\na,dog\n")[0] == {"a": ["dog"]}


@pytest.mark.parametrize("image", ["none.jpg", "sub/none", "https://example.org/c.jpg"])
def test_a_first_line_that_names_a_missing_file_is_none(image):
    assert read(f"{image},cat\na,dog\n")[0] == {image: ["cat"], "a": ["dog"]}


@pytest.mark.parametrize(
    ("one", "zero"), [("1", "0"), ("1.0", "0.0"), ("TRUE", "FALSE"), ("True", "False")]
)
def test_columns_of_1_and_0_are_classes(one, zero):
    text = f"image_id,healthy,red rust\na.jpg,{one},{zero}\nb.jpg,{one},{one}\nimage,{zero},{zero}"
    expected = {"a.jpg": ["healthy"], "b.jpg": ["healthy", "red rust"], "image": []}
    assert read(text) == (expected, [])


def test_the_columns_of_images_and_rows_may_stand_anywhere():
    assert read(",image,rust,scab\n0,a,0,1\n1,b,1,0\n")[0] == {"a": ["scab"], "b": ["rust"]}
    assert read("label,file\ncat,a\ndog,b\n")[0] == {"a": ["cat"], "b": ["dog"]}


@pytest.mark.parametrize("cell", ["0.7", "", "-1", "nan", "yes", "2"])
def test_another_value_in_a_column_of_classes_is_an_error_of_its_line(cell):
    found, ((number, reason),) = read(f"file,healthy,rust\na,1,0\nb,1,{cell}\n")
    assert found == {"a": ["healthy"]}
    assert (number, reason) == (3, f"the column 'rust' holds {cell!r}: legal are 1 and 0")


def test_lines_of_another_length_are_errors():
    found, errors = read("file,healthy,rust\na,1,0\nb,1\nimage,1,0,1\n")
    assert found == {"a": ["healthy"]}
    assert errors == [(3, "2 cells, and the header has 3"), (4, "4 cells, and the header has 3")]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("image_id,healthy,rust\na,0.9,0.1\n", "'healthy', 'rust'"),
        ("image_id,Smiling,Young\na,-1,1\n", "'Smiling', 'Young'"),
        ("ImageID,Source,LabelName,Confidence\na,human,/m/01,1\n", "'Source', 'Confidence'"),
        ("filename,width,class,xmin\na,30,cat,2\n", "'width', 'xmin'"),
        ("image,labels,is_train\na,cat,1\n", "'is_train'"),
        ("none,cat\na,cat\n", "'cat'"),
        ("a,b,c;\n".replace("a", "who"), "'b', 'c;'"),
    ],
)
def test_columns_of_another_meaning_are_refused_by_name(text, columns):
    with pytest.raises(ValueError, match=f"has the columns {columns}: legal are"):
        read(text)


@pytest.mark.parametrize("text", ["image;labels\na.jpg;cat\n", "image\tlabel\na.jpg\tcat\n"])
def test_other_separators_are_refused(text):
    with pytest.raises(ValueError, match="Commas separate columns"):
        read(text)


def test_a_class_with_two_columns_is_refused():
    with pytest.raises(ValueError, match="names a column twice"):
        read("file,rust,rust\na,1,0\n")
