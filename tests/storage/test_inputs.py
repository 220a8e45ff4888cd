import os

import pytest

from qaclims_ray.storage.files import write_bytes
from qaclims_ray.storage.inputs import find_all, walk


@pytest.fixture
def folder(tmp_path, make):
    """Two files beside hidden ones."""
    for path in ("a.jpg", "sub/b.jpg", ".hidden", ".git/c.jpg", "sub/.d.jpg"):
        make.put(tmp_path / "images" / path, b"")
    return tmp_path / "images"


def test_files_are_sorted_and_hidden_ones_left_out(folder):
    assert walk(str(folder)) == ["a.jpg", "sub/b.jpg"]
    assert walk(f"{folder}/") == walk(f"file://{folder}") == walk(str(folder))


def test_a_missing_folder_has_no_files(tmp_path):
    assert walk(str(tmp_path / "missing")) == []


def test_links_to_folders_and_files_are_followed(folder, tmp_path, make):
    make.put(tmp_path / "disk" / "far" / "e.jpg", b"")
    (folder / "linked").symlink_to(tmp_path / "disk")
    (folder / "f.jpg").symlink_to(tmp_path / "disk" / "far" / "e.jpg")
    assert walk(str(folder)) == ["a.jpg", "f.jpg", "linked/far/e.jpg", "sub/b.jpg"]
    (tmp_path / "link").symlink_to(folder)
    assert walk(str(tmp_path / "link")) == walk(str(folder))


def test_two_links_to_one_folder_are_two_folders(folder):
    for name in ("one", "two"):
        (folder / name).symlink_to("sub")
    assert walk(str(folder)) == ["a.jpg", "one/b.jpg", "sub/b.jpg", "two/b.jpg"]


def test_links_that_lead_back_end(folder, tmp_path):
    (folder / "sub" / "top").symlink_to(folder)
    (folder / "sub" / "same").symlink_to(".")
    assert walk(str(folder)) == ["a.jpg", "sub/b.jpg"]
    (tmp_path / "link").symlink_to(folder)
    (folder / "sub" / "again").symlink_to(tmp_path / "link")
    assert walk(str(tmp_path / "link")) == ["a.jpg", "sub/b.jpg"]


def test_what_cannot_be_read_is_listed_for_its_error_to_be_told(folder, tmp_path):
    (folder / "broken.jpg").symlink_to(tmp_path / "missing")
    (folder / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(folder / "pipe.jpg")
    assert walk(str(folder)) == ["a.jpg", "broken.jpg", "pipe.jpg", "self.jpg", "sub/b.jpg"]


def test_a_folder_that_may_not_be_listed_is_an_error(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ValueError, match="images: PermissionError"):
        walk(str(folder))


def test_stores_are_listed_alike(make):
    for path in ("a.jpg", "sub/b.jpg", ".git/c.jpg", "sub/.d.jpg"):
        write_bytes(f"memory://walked/{path}", b"")
    assert walk("memory://walked") == ["a.jpg", "sub/b.jpg"]
    assert walk("memory://nowhere") == []


def test_patterns_match_behind_links(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    found = [f"{tmp_path}/images/a.jpg", f"{tmp_path}/link/a.jpg"]
    assert find_all(f"{tmp_path}/*/?.jpg") == found
    assert find_all(f"file://{tmp_path}/*/?.jpg") == [f"file://{path}" for path in found]
