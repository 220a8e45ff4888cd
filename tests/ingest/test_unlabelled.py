"""Images without known labels are kept, asked about, and neither learnt from nor scored."""

import numpy as np
import pytest
from PIL import Image as pil

from qaclims_ray.cams import stage as cams_stage
from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.ask import questions_about
from qaclims_ray.ingest import stage
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import labelled
from qaclims_ray.run.make import make as make_artifact
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.scored import scored_images
from qaclims_ray.run.tables import read_table
from qaclims_ray.train.rows import labels_of, training_rows
from tests.build import encode, jpeg, photo, put, write_artifact


def images_artifact(folder, labels):
    images = Artifact("images", str(folder), {})
    rows = [{"name": f"i{number}", "labels": one} for number, one in enumerate(labels)]
    write_artifact(images, rows)
    return images


def test_only_images_with_known_labels_are_taken_and_others_counted(tmp_path, caplog):
    rows = labelled(images_artifact(tmp_path, [[1], None, [], None]))
    assert rows.to_table(columns=["name"])["name"].to_pylist() == ["i0", "i2"]
    assert "2 of 4 images have no labels" in caplog.text


def test_without_any_label_nothing_can_be_learnt(tmp_path):
    with pytest.raises(ValueError, match="no image is labelled"):
        labelled(images_artifact(tmp_path, [None, None]))


def test_about_the_classes_of_an_image_without_labels_nothing_is_asked():
    assert questions_about(None, ("cat",), Questions()) == []
    free = Questions(about="image", background=("what is there?",))
    assert len(questions_about(None, ("cat",), free)) == 1


@pytest.fixture
def folder(tmp_path):
    """Image a with a cat, b without a line, c without any class; all with masks."""
    root = tmp_path / "mine"
    mask = encode(pil.fromarray(np.ones((20, 30), np.uint8)))
    for seed, name in enumerate("abc"):
        image = jpeg(photo(20, 30, seed))
        put(root / "images" / f"{name}.jpg", image)
        put(root / "masks" / f"{name}.png", mask)
    put(root / "labels.csv", "a.jpg,cat\nc.jpg\n")
    return {"kind": "folder", "root": str(root), "unlabelled": True}


def test_they_are_kept_but_neither_trained_on_nor_scored(
    local_ray, make_experiment, tmp_path, folder
):
    experiment = make_experiment(tmp_path / "run", {"data": folder})
    stage.run(experiment)
    images = artifact(experiment, "images")
    assert read_table(images)["labels"].to_pylist() == [[0], None, []]
    assert images.require()["facts"]["num_kept_unlabelled"] == 1
    (rows,) = labels_of(training_rows(experiment))
    assert rows["name"].to_pylist() == ["a", "c"]
    assert [*scored_images(experiment).names()] == ["a", "c"]
    assert [*scored_images(experiment, of_cams=False).names()] == ["a", "b", "c"]
    (tmp_path / "names.txt").write_text("a\nb\n")
    listed = experiment.with_overrides({"evaluate.names": str(tmp_path / "names.txt")})
    assert [*scored_images(listed, of_cams=False).names()] == ["a", "b"]
    with pytest.raises(ValueError, match=r"truth of images with known labels: 1 of 2, such as 'b'"):
        scored_images(listed)


def test_no_cams_are_made_where_nobody_knows_a_label(local_ray, make_experiment, tmp_path, folder):
    unlabelled = {**folder, "class_names": ["cat"], "labels_file": "none.csv"}
    put(tmp_path / "mine" / "none.csv", "")
    experiment = make_experiment(tmp_path / "run", {"data": unlabelled})
    stage.run(experiment)
    with pytest.raises(ValueError, match="no image is labelled"):
        training_rows(experiment)
    with pytest.raises(ValueError, match="no ground truth of images with known labels"):
        scored_images(experiment)
    make_artifact(experiment, "classifier", lambda _: Built(0, 0, {}), False)
    with pytest.raises(ValueError, match="no image is labelled"):
        cams_stage.run(experiment, "baseline_cams")
