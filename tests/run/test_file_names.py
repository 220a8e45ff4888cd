from pathlib import Path

import pyarrow as pa
import pytest

from qaclims_ray.run import file_names
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.file_names import FileNames, relative, write_file_names
from qaclims_ray.storage.parquet import write_parquet
from qaclims_ray.storage.paths import member


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        (["/d/images/a.jpg", "/d/images/x/b.PNG"], ["a.jpg", "x/b.PNG"]),
        (["/d/train/a.jpg", "/d/trainval/b.jpg"], ["train/a.jpg", "trainval/b.jpg"]),
        (["/d/images/a.jpg"], ["a.jpg"]),
        (["s3://b/x/a.jpg", "s3://b/y/a.jpg?versionId=1"], ["x/a.jpg", "y/a.jpg"]),
        (
            [member("/t-0.tar", "x/a#1.jpg", 512, 9), member("/t-1.tar", "b.jpg", 0, 1)],
            ["x/a#1.jpg", "b.jpg"],
        ),
        ([], []),
    ],
)  # fmt: skip
def test_files_are_called_as_below_their_common_folder(paths, files):
    assert relative(paths) == files


def test_they_are_kept_beside_the_images(make_experiment, tmp_path):
    images = artifact(make_experiment(tmp_path), "images")
    assert not FileNames(images).known
    assert FileNames(images).of("a") is None
    write_file_names(images, lambda: [{"a": "/d/images/a.jpg", "x__b": "/d/images/x/b.png"}])
    assert [*file_names.file_names(images)] == [("a", "a.jpg"), ("x__b", "x/b.png")]
    files = FileNames(images)
    assert [files.of(name) for name in ("a", "b", "x__b", "z")] == ["a.jpg", None, "x/b.png", None]
    assert images.shards() == []


def test_parts_are_kept_as_one_list_would_be(make_experiment, tmp_path, monkeypatch):
    paths = [f"/d/{'train' if i % 2 else 'trainval'}/{i}.jpg" for i in range(9)]
    paths[4:6] = [member("/t.tar", "x/a.jpg", 512, 9), member("/t.tar", "b.jpg", 9, 1)]
    named = [
        {f"{place + i}": path for i, path in enumerate(paths[place : place + 3])}
        for place in (0, 3, 6)
    ]
    one, other = (artifact(make_experiment(tmp_path / name), "images") for name in "ab")
    monkeypatch.setattr(file_names, "_ROW_GROUP", 4)
    write_file_names(one, lambda: named)
    write_parquet(
        pa.table({"name": [*map(str, range(9))], "file": relative(paths)}), f"{other.uri}/plain", 4
    )
    assert Path(one.uri, "files.parquet").read_bytes() == Path(other.uri, "plain").read_bytes()
    assert dict(file_names.file_names(one))["8"] == "trainval/8.jpg"


def test_they_are_read_as_names_are_asked_for(make_experiment, tmp_path, monkeypatch):
    images = artifact(make_experiment(tmp_path), "images")
    write_file_names(images, lambda: [{f"{i:02d}": f"/d/{i}.jpg" for i in range(20)}])
    read, batches = [], file_names.read_batches

    def counted(uri, schema):
        for batch in batches(uri, schema, 4):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(file_names, "read_batches", counted)
    files = FileNames(images)
    assert (files.of("03"), len(read)) == ("3.jpg", 1)
    assert (files.of("09"), len(read)) == ("9.jpg", 3)
    assert (files.of("99"), read) == (None, [4] * 5)
