import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qaclims_ray.cluster import maps
from qaclims_ray.config.data import Demo
from qaclims_ray.demo.voc import write_voc
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.ingest import readers, stage
from qaclims_ray.ingest.folder import read_folder
from qaclims_ray.ingest.listed import SOURCE
from qaclims_ray.ingest.webdataset import read_webdataset
from qaclims_ray.run.artifact import MASK_ERRORS, Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import read_errors, read_table
from tests.build import jpeg, photo, put, tar


@pytest.fixture
def damaged(monkeypatch):
    """Of the images that the demo draws, one is cut short and one is empty."""

    def write_damaged(root, **arguments):
        write_voc(root, **arguments)
        torn, empty = root / "JPEGImages/train_000002.jpg", root / "JPEGImages/train_000005.jpg"
        torn.write_bytes(torn.read_bytes()[:500])
        empty.write_bytes(b"")

    monkeypatch.setattr(readers, "write_voc", write_damaged)


@pytest.fixture
def no_ray_data(monkeypatch):
    """Fails where Ray Data would start."""

    def fail(*_, **__):
        raise AssertionError("Ray Data was started")

    monkeypatch.setattr(maps, "read_rows", fail)


def test_images_arrive_unchanged_sorted_and_with_labels_and_masks(demo_run):
    images = artifact(demo_run, "images")
    rows = read_table(images).to_pylist()
    assert [row["name"] for row in rows] == [f"train_{number:06d}" for number in range(8)]
    world = Path(demo_run.run, "world")
    for row in rows:
        assert row["image"] == (world / "JPEGImages" / f"{row['name']}.jpg").read_bytes()
        assert (row["height"], row["width"]) == (96, 96)
        assert row["labels"]
        assert row["mask"] is not None
    assert class_names(images) == CLASSES
    assert len(images.shards()) > 1
    facts = images.require()["facts"]
    assert facts["num_images"] == 8
    assert sum(facts["masks"]["shown"].values()) >= 8
    assert facts["masks"]["num_not_labelled"] == 0


def test_a_second_run_does_nothing(demo_run, no_ray_data):
    start = time.monotonic()
    line = stage.run(demo_run)
    assert time.monotonic() - start < 1
    assert line.startswith("images: complete already, 8 rows, 0 errors")


def test_broken_images_are_recorded_and_the_others_are_there(
    local_ray, make_experiment, tmp_path, damaged
):
    experiment = make_experiment(tmp_path)
    assert stage.run(experiment).startswith("images: 6 rows, 2 errors, ")
    images = artifact(experiment, "images")
    names = read_table(images, ["name"])["name"].to_pylist()
    assert names == [f"train_{number:06d}" for number in (0, 1, 3, 4, 6, 7)]
    errors = pq.read_table(f"{images.uri}/_errors/part-00000.parquet").to_pylist()
    assert [error["name"] for error in errors] == ["train_000002", "train_000005"]
    assert all("ValueError: " in error["reason"] for error in errors)
    assert "train_000005.jpg" in errors[1]["reason"]
    assert (images.require()["rows"], images.require()["errors"]) == (6, 2)


def test_a_broken_image_has_no_other_loaded_twice(tmp_path, monkeypatch):
    seen = []

    def load(source, **_):
        seen.append(source["name"])
        if source["name"] == "b":
            raise PermissionError("b.jpg")
        image = {"image": b"", "height": 1, "width": 1, "labels": [0], "mask": None}
        return {"name": source["name"], **image}

    monkeypatch.setattr(stage, "load", load)
    target = Artifact("images", str(tmp_path), {})
    loader = stage.Loader(Demo(kind="demo", max_errors=1), 1, target)
    sources = pa.Table.from_pylist([{"name": name} for name in "abcd"], SOURCE)
    rows = loader(sources).to_pylist()
    assert seen == ["a", "b", "c", "d"]
    errors = {row["name"]: row["error"] for row in rows}
    assert errors == {"a": None, "b": "PermissionError: b.jpg", "c": None, "d": None}


@pytest.mark.parametrize("packed", [True, False])
def test_what_changes_after_it_was_listed_is_recorded_and_named(tmp_path, packed):
    files = {f"{name}.jpg": jpeg(photo(seed=seed)) for seed, name in enumerate("abc")}
    if packed:
        path = tar(tmp_path / "set.tar", list(files.items()))
        listing = read_webdataset([path], class_names=["cat"], unlabelled=True)
        Path(path).write_bytes(Path(path).read_bytes().partition(files["c.jpg"][-20:])[0])
    else:
        for name, content in files.items():
            put(tmp_path / "images" / name, content)
        listing = read_folder(str(tmp_path), class_names=["cat"], unlabelled=True)
        (tmp_path / "images" / "c.jpg").unlink()
    target = Artifact("images", str(tmp_path / "run"), {})
    loader = stage.Loader(Demo(kind="demo", max_errors=1), 1, target)
    rows = loader(pa.Table.from_pylist(list(listing.sources), SOURCE)).to_pylist()
    errors = {row["name"]: row["error"] for row in rows}
    assert (errors["a"], errors["b"]) == (None, None)
    assert re.search("set.tar: cut off" if packed else "c.jpg: .*[Nn]o", errors["c"])


@pytest.fixture
def bad_masks(monkeypatch):
    """Of the masks that the demo draws, one is of another size and one no picture."""

    def write_bad(root, **arguments):
        write_voc(root, **arguments)
        folder = next(root.glob("SegmentationClass*"))
        Image.new("L", (5, 5)).save(folder / "train_000002.png")
        (folder / "train_000005.png").write_bytes(b"no picture")

    monkeypatch.setattr(readers, "write_voc", write_bad)


def test_a_bad_mask_costs_the_mask_and_not_its_image(
    local_ray, make_experiment, tmp_path, bad_masks, caplog
):
    experiment = make_experiment(tmp_path)
    assert stage.run(experiment).startswith("images: 8 rows, 0 errors, ")
    images = artifact(experiment, "images")
    rows = read_table(images, ["name", "labels", "mask"]).to_pylist()
    without = [row["name"] for row in rows if row["mask"] is None]
    assert without == ["train_000002", "train_000005"]
    assert all(row["labels"] for row in rows)
    reasons = {row["name"]: row["reason"] for row in read_errors(images, MASK_ERRORS).to_pylist()}
    assert list(reasons) == without
    assert "the mask is 5 x 5 pixels" in reasons["train_000002"]
    assert images.require()["facts"]["num_bad_masks"] == 2
    assert "images: 2 masks are bad, their images have no ground truth" in caplog.text
    assert f"{images.uri}/_mask_errors" in caplog.text
    strict = make_experiment(tmp_path / "strict", {"data.max_errors": 1})
    with pytest.raises(ValueError, match=r"more than data\.max_errors = 1 masks are bad"):
        stage.run(strict)


def test_failed_images_of_a_complete_artifact_are_tried_again_alone(
    local_ray, make_experiment, tmp_path, damaged, monkeypatch
):
    experiment = make_experiment(tmp_path)
    stage.run(experiment)
    monkeypatch.undo()
    again = stage.run(experiment, retry_errors=True)
    assert again.startswith("images: 8 rows, 0 errors, ")
    undisturbed = make_experiment(tmp_path / "undisturbed")
    stage.run(undisturbed)
    one, other = artifact(experiment, "images"), artifact(undisturbed, "images")
    assert read_table(one).equals(read_table(other))
    assert stage.run(experiment, retry_errors=True).startswith("images: complete already")


def test_labels_that_change_after_ingest_are_noticed(
    local_ray, make_experiment, tmp_path, caplog, png
):
    root = tmp_path / "mine"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(png(np.zeros((2, 2, 3), np.uint8)))
    (root / "labels.csv").write_text("name,labels\na.png,cat\n")
    data = {"data": {"kind": "folder", "root": str(root), "max_errors": 100}}
    experiment = make_experiment(tmp_path / "run", data)
    stage.run(experiment)
    stage.run(experiment)
    assert "labels changed" not in caplog.text
    (root / "labels.csv").write_text("name,labels\na.png,dog\n")
    assert "complete already" in stage.run(experiment)
    assert "the labels changed since images was made: run qaclims ingest --overwrite" in caplog.text
    caplog.clear()
    stage.run(experiment, overwrite=True)
    assert "labels changed" not in caplog.text
    assert class_names(artifact(experiment, "images")) == ("dog",)


def test_more_broken_images_than_allowed_stop_it_and_lose_nothing(
    local_ray, make_experiment, tmp_path, damaged, caplog
):
    strict = make_experiment(tmp_path, {"data.max_errors": 0, "data.num_images": 6})
    with pytest.raises(ValueError, match=r"more than data\.max_errors = 0 rows of images failed"):
        stage.run(strict)
    assert not artifact(strict, "images").is_complete()
    lenient = strict.with_overrides({"data.max_errors": 2})
    with pytest.raises(ValueError, match=r"2 of 6 listed images are missing or cannot be used"):
        stage.run(lenient.with_overrides({"data.max_missing": 0.2}))
    assert not artifact(strict, "images").is_complete()
    assert "images: 2 rows failed; most often:\n  train_000002: ValueError" in caplog.text
    assert stage.run(lenient).startswith("images: 4 rows, 2 errors, ")


def test_more_actors_than_images_and_a_limit(local_ray, make_experiment, tmp_path):
    pool = {"num_actors": 4, "num_cpus": 0.25, "block_rows": 1, "batch_size": 1}
    experiment = make_experiment(tmp_path, {"data.limit": 3, "compute.ingest": pool})
    assert stage.run(experiment).startswith("images: 3 rows, 0 errors, ")


def test_an_interrupted_run_whose_rows_are_all_there_computes_none(
    local_ray, make_experiment, tmp_path, monkeypatch, request
):
    experiment = make_experiment(tmp_path, {"data.num_images": 4})

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "publish_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.run(experiment)
    request.getfixturevalue("no_ray_data")
    assert stage.run(experiment).startswith("images: 4 rows, 0 errors, ")


def test_no_image_at_all_is_an_error(make_experiment, tmp_path):
    folder = {"kind": "folder", "root": str(tmp_path / "mine")}
    (tmp_path / "mine" / "images").mkdir(parents=True)
    (tmp_path / "mine" / "labels.csv").write_text("name,labels\n")
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own message
        stage.run(make_experiment(tmp_path, {"data": folder}))
