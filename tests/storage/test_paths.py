import pytest

from qaclims_ray.storage.paths import (
    absolute,
    check_inside,
    join,
    locate,
    member,
    png_name,
    shown,
    split_member,
)


def test_local_paths_become_absolute_and_urls_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("runs/a/") == str(tmp_path / "runs" / "a")
    assert absolute("s3://bucket/a/") == "s3://bucket/a"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://b/a.jpg", "s3://b/a.jpg"),
        ("/data/what?.jpg", "/data/what?.jpg"),
        ("https://u:p@h/a b.jpg?sig=1%2F: HTTP 403", "https://h/a b.jpg?…: HTTP 403"),
        ("url='https://h/a?TOKEN', no", "url='https://h/a?…', no"),
        ("no answer (/v1/a?key=1)", "no answer (/v1/a?…)"),
        ("https://h/a.tar?sig=1#a.jpg:5+6: bad", "https://h/a.tar?…#a.jpg:5+6: bad"),
        ("caf\udce9/été.jpg: bad", "caf\\udce9/été.jpg: bad"),
    ],
)
def test_users_and_queries_are_not_shown_and_text_is_utf8(text, told):
    assert shown(text) == told
    assert shown(told) == told


def test_parts_are_joined_and_whole_paths_stay():
    assert join("s3://b/a/", "c", "d") == "s3://b/a/c/d"
    assert locate("/data", "a.csv") == "/data/a.csv"
    assert [locate("/data", path) for path in ("/x/a", "s3://b/a")] == ["/x/a", "s3://b/a"]


@pytest.mark.parametrize("name", ["a.jpg", "a#b:1+2.jpg", "", "two\nlines"])
def test_the_path_of_a_member_says_where_its_bytes_lie(name):
    assert split_member(member("s3://b/a#1.tar", name, 512, 40)) == ("s3://b/a#1.tar", 512, 40)


@pytest.mark.parametrize("path", ["a.jpg", "a.tar#b.jpg", "a.tar#b:1", "#a:1+2"])
def test_other_paths_are_no_members(path):
    assert split_member(path) is None


@pytest.mark.parametrize("path", ["/a", "../a", "a/../b", "a//b", "./a", "a\\b", "a\0", ""])
def test_paths_that_leave_their_folder_are_refused(path):
    with pytest.raises(ValueError, match="is not a path below its folder"):
        check_inside(path)
    assert check_inside("a/b..c") == "a/b..c"


@pytest.mark.parametrize("letter", ["n", "é", "€"])
def test_names_of_pngs_fit_and_differ_however_long_the_images_are_called(letter):
    assert png_name(letter * 60) == f"{letter * 60}.png"
    names = [letter * number for number in range(80, 300)]
    files = [png_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert max(len(file.encode()) for file in files) <= 255
    assert all(file.startswith(letter * 70) and file.endswith(".png") for file in files)


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", "a\\b", "", ".."])
def test_no_png_lies_outside_its_folder(name):
    with pytest.raises(ValueError, match="is not a path below its folder"):
        png_name(name)


def test_a_message_commands_no_terminal():
    assert shown("a\x1b[2Jb\x00\u202ec\x9b\r") == r"a\x1b[2Jb\x00\u202ec\x9b\r"
    assert shown("two\nlines\tand a tab") == "two\nlines\tand a tab"
