import pytest

from qaclims_ray.evaluate import settings
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.run.manifest import Built
from tests.build import write_artifact


@pytest.mark.parametrize(
    ("recorded", "allowed", "told"),
    [
        ({"pixel_masks": False, "reason": "ImageNet"}, True, "no (ImageNet)"),
        ({"pixel_masks": True, "reason": "COCO"}, True, "yes (COCO)"),
        ({"pixel_masks": None, "reason": "no name"}, False, "unknown (no name)"),
        # Segmenters of before record nothing.
        (None, False, "no"),
        (None, True, "allowed"),
    ],
)
def test_predictions_state_what_trained_the_segmenters_weights(
    make_experiment, tmp_path, recorded, allowed, told
):
    key = "train.segmenter.pixel_supervised_weights"
    experiment = make_experiment(tmp_path, {key: allowed})
    facts = {} if recorded is None else {"weights": recorded}
    artifact(experiment, "segmenter").complete(Built(1, 0, facts), 1.0, {})
    assert settings._pixel_supervised(experiment) == told


def test_how_truth_was_drawn_is_said_of_the_images_that_are_scored(make_experiment, tmp_path):
    """Of the new images where predictions of these are scored, not of those of the training."""
    coco = {"kind": "coco14", "root": "x", "crowds": "class", "overlap": "file_order"}
    experiment = make_experiment(tmp_path).with_overrides({"new_images": coco})
    write_artifact(own_artifact(experiment, "new_images"), [])
    stated = settings.settings_of(experiment, "new_predictions")
    assert (stated["crowds"], stated["overlap"]) == ("class", "file_order")
    assert stated["data"] == "coco14"


@pytest.mark.parametrize("way", ["uint8", "normalised"])
def test_cams_of_a_network_state_how_images_were_resized(make_experiment, tmp_path, way):
    experiment = make_experiment(tmp_path, {"cams.resize": way})
    assert settings.cam_settings(experiment, "cams")["resizing"] == way
