import os

import fsspec
import pytest

from qaclims_ray.storage.files import read_bytes, write_bytes
from qaclims_ray.storage.listing import existing, find, glob, list_files
from tests.build import put


def test_found_files_are_sorted_and_can_be_read(folder):
    for name in ("b-2", "a-10", "b-10", "c"):
        write_bytes(f"{folder}/{name}.bin", name.encode())
    found = find(f"{folder}/b-*.bin")
    assert [read_bytes(uri) for uri in found] == [b"b-10", b"b-2"]
    assert find(f"{folder}/nowhere/*.bin") == []


@pytest.mark.parametrize("name", ["run [1]", "run?", "a b", "größe"])
def test_only_the_star_is_a_wildcard(tmp_path, name):
    folder = tmp_path / name
    write_bytes(f"{folder}/part-1.bin", b"x")
    assert [os.path.basename(uri) for uri in find(f"{folder}/part-*.bin")] == ["part-1.bin"]


def test_files_written_by_others_are_seen(folder):
    assert find(f"{folder}/*.bin") == []
    fs, path = fsspec.url_to_fs(folder)
    fs.mkdirs(path, exist_ok=True)
    fs.pipe_file(f"{path}/new.bin", b"x")
    assert len(find(f"{folder}/*.bin")) == 1


@pytest.fixture
def tree(tmp_path):
    """Two files beside hidden ones."""
    for path in ("a.jpg", "sub/b.jpg", ".hidden", ".git/c.jpg", "sub/.d.jpg"):
        put(tmp_path / "images" / path, b"")
    return tmp_path / "images"


def test_files_are_sorted_and_hidden_ones_left_out(tree):
    assert list_files(str(tree)) == ["a.jpg", "sub/b.jpg"]
    assert list_files(f"{tree}/") == list_files(f"file://{tree}") == list_files(str(tree))


def test_a_missing_folder_has_no_files(tmp_path):
    assert list_files(str(tmp_path / "missing")) == []


def test_links_to_folders_and_files_are_followed(tree, tmp_path):
    put(tmp_path / "disk" / "far" / "e.jpg", b"")
    (tree / "linked").symlink_to(tmp_path / "disk")
    (tree / "f.jpg").symlink_to(tmp_path / "disk" / "far" / "e.jpg")
    assert list_files(str(tree)) == ["a.jpg", "f.jpg", "linked/far/e.jpg", "sub/b.jpg"]
    (tmp_path / "link").symlink_to(tree)
    assert list_files(str(tmp_path / "link")) == list_files(str(tree))


def test_two_links_to_one_folder_are_two_folders(tree):
    for name in ("one", "two"):
        (tree / name).symlink_to("sub")
    assert list_files(str(tree)) == ["a.jpg", "one/b.jpg", "sub/b.jpg", "two/b.jpg"]


def test_links_that_lead_back_end(tree, tmp_path):
    (tree / "sub" / "top").symlink_to(tree)
    (tree / "sub" / "same").symlink_to(".")
    assert list_files(str(tree)) == ["a.jpg", "sub/b.jpg"]
    (tmp_path / "link").symlink_to(tree)
    (tree / "sub" / "again").symlink_to(tmp_path / "link")
    assert list_files(str(tmp_path / "link")) == ["a.jpg", "sub/b.jpg"]


def test_what_cannot_be_read_is_listed_for_its_error_to_be_told(tree, tmp_path):
    (tree / "broken.jpg").symlink_to(tmp_path / "missing")
    (tree / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(tree / "pipe.jpg")
    assert list_files(str(tree)) == ["a.jpg", "broken.jpg", "pipe.jpg", "self.jpg", "sub/b.jpg"]


def test_a_folder_that_may_not_be_listed_is_an_error(tree, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ValueError, match="images: PermissionError"):
        list_files(str(tree))


def test_a_folder_that_is_removed_while_it_is_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c.txt").touch()
    names_in = os.listdir

    def names_then_gone(folder):
        found = names_in(folder)
        if folder.endswith("/a"):
            (tmp_path / "a" / "b").rmdir()
            monkeypatch.setattr(os.path, "isdir", lambda _: True)
        return found

    monkeypatch.setattr(os, "listdir", names_then_gone)
    with pytest.raises(ValueError, match="a/b was removed while its files were listed: try again"):
        list_files(str(tmp_path))


def test_stores_are_listed_alike():
    for path in ("a.jpg", "sub/b.jpg", ".git/c.jpg", "sub/.d.jpg"):
        write_bytes(f"memory://walked/{path}", b"")
    assert list_files("memory://walked") == ["a.jpg", "sub/b.jpg"]
    assert list_files("memory://nowhere") == []


def test_patterns_match_behind_links(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    found = [f"{tmp_path}/images/a.jpg", f"{tmp_path}/link/a.jpg"]
    assert glob(f"{tmp_path}/*/?.jpg") == found
    assert glob(f"file://{tmp_path}/*/?.jpg") == [f"file://{path}" for path in found]


def test_only_existing_files_are_returned(folder):
    paths = [f"{folder}/{name}" for name in ("a", "b/c", "d", "b")]
    for path in paths[:2]:
        write_bytes(path, b"")
    assert existing(paths) == set(paths[:2])
