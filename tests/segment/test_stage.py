from dataclasses import replace

import numpy as np
import pytest

from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.decode import decode
from qaclims_ray.images.label_maps import row_label_map
from qaclims_ray.ingest import stage as ingest
from qaclims_ray.run.artifact import COMPLETE, artifact
from qaclims_ray.run.images import check_class_names
from qaclims_ray.run.tables import read_table
from qaclims_ray.segment import stage
from qaclims_ray.segment.elsewhere import predicting
from qaclims_ray.segment.predict import SegmenterPredictor, load_trained
from qaclims_ray.storage.files import read_json, write_json


@pytest.fixture
def own(demo_run, tmp_path):
    """A run of its own upon the demo run."""
    return lambda **values: demo_run.with_overrides(
        {"run": str(tmp_path / "own"), "base": [demo_run.run], **values}
    )


def _check(experiment, images_name="images", name="predictions"):
    images = read_table(artifact(experiment, images_name)).to_pylist()
    net = load_trained(experiment, artifact(experiment, "segmenter"))
    predictor = SegmenterPredictor(net, experiment.segment)
    rows = read_table(artifact(experiment, name)).to_pylist()
    assert [row["name"] for row in rows] == [row["name"] for row in images]
    for image, row in zip(images, rows, strict=True):
        (expected,) = predictor.predict([decode(image["image"])])
        # Convolutions of a batch may round otherwise than those of an image alone.
        assert np.mean(row_label_map(row) != expected) < 0.01
        assert (row["decided"], row["height"], row["width"]) == (1.0, *expected.shape)


def test_predictions_are_those_of_the_network(demo_run):
    _check(demo_run)


def test_new_images_are_predicted_and_scored(demo_run):
    """They are of another split, drawn where any class may stand in any scene."""
    _check(demo_run, "new_images", "new_predictions")
    scores = read_json(f"{artifact(demo_run, 'new_prediction_scores').uri}/{SCORES}")
    assert (scores["num_images"], scores["settings"]["split"]) == (4, "val")
    assert scores["settings"]["image labels"] == "not used"


def test_photographs_from_anywhere_are_predicted_in_a_run_of_their_own(demo_run, tmp_path, png):
    (tmp_path / "photos").mkdir()
    sizes = {"tall": (40, 20), "thin": (1, 30)}
    for name, size in sizes.items():
        content = png(np.zeros((*size, 3), np.uint8))
        (tmp_path / f"photos/{name}.png").write_bytes(content)
    (tmp_path / "photos/broken.jpg").write_bytes(b"no image")
    experiment = predicting(demo_run, str(tmp_path / "photos"))
    line = ingest.run(experiment, "new_images")
    assert line.startswith("new_images: 2 rows, 1 errors")
    stage.run(experiment, "new_predictions")
    rows = read_table(artifact(experiment, "new_predictions")).to_pylist()
    assert {row["name"]: (row["height"], row["width"]) for row in rows} == sizes
    assert experiment.run.startswith(f"{demo_run.run}/predicted/photos-")


def test_without_new_images_it_says_how_to_name_some(own):
    experiment = own(new_images=None)
    with pytest.raises(ValueError, match=r"new_images is null.*--images photos to qaclims predict"):
        ingest.run(experiment, "new_images")


@pytest.mark.parametrize("refine", ["par", "crf"])
def test_predictions_are_refined_as_asked(own, refine):
    experiment = own(**{"segment.refine": refine, "segment.scales": [1.0, 1.25]})
    stage.run(experiment)
    _check(experiment)


def test_windows_cover_images_that_are_larger(own):
    experiment = own(**{"segment.window": 64, "segment.overlap": 16})
    stage.run(experiment)
    _check(experiment)


def test_a_network_of_other_classes_is_refused(demo_run, tmp_path):
    images, segmenter = artifact(demo_run, "images"), artifact(demo_run, "segmenter")
    check_class_names(images, segmenter)
    other = replace(images, uri=str(tmp_path / "images"))
    manifest = images.require()
    manifest["facts"]["class_names"].reverse()
    del manifest["files"]
    write_json(f"{other.uri}/{COMPLETE}", manifest)
    with pytest.raises(ValueError, match="its numbers would mean other classes"):
        check_class_names(other, segmenter)


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "map_actor", None)
    assert stage.run(demo_run).startswith("predictions: complete already, 8 rows")
