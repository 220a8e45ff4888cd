import pytest

from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.file_names import read_file_names, relative, write_file_names
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
    assert read_file_names(images) == {}
    write_file_names(images, {"a": "/d/images/a.jpg", "x__b": "/d/images/x/b.png"})
    assert read_file_names(images) == {"a": "a.jpg", "x__b": "x/b.png"}
    assert images.shards() == []
