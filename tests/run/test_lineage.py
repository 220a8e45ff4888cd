"""A chain of artifacts of a few bytes, whose first links are made anew."""

import shutil

import pytest

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.run.graph import ARTIFACTS, is_needed
from qaclims_ray.run.lineage import (
    ancestors,
    check_lineage,
    identities,
    remade_from,
    status,
)
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.recipe import recipe
from qaclims_ray.storage.files import write_bytes

CLASSES = ["cat", "dog"]


def _make(experiment: Experiment, name, content=b"1", overwrite=True, **facts):
    """Make an artifact that holds a few bytes; images with masks also have another identity."""

    def build(target):
        write_bytes(f"{target.uri}/model.safetensors", content)
        return Built(1, 0, {"class_names": CLASSES, **facts})

    return make(experiment, name, build, overwrite)


def _images(experiment, masks=b"", class_names=CLASSES):
    own = {"class_names": class_names, "identity_without_masks": " ".join(class_names)}
    return _make(experiment, "images", b"rows" + masks, **own)


@pytest.fixture(scope="module")
def made(make_experiment, tmp_path_factory):
    """A run with everything; read only."""
    experiment = make_experiment(tmp_path_factory.mktemp("made"))
    _images(experiment)
    for name in list(ARTIFACTS)[1:]:
        if is_needed(experiment, name):
            _make(experiment, name)
    return experiment


@pytest.fixture
def whole(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made.run, tmp_path / "run")
    return made.with_overrides({"run": str(tmp_path / "run")})


def _states(experiment):
    return {line.split()[0]: line.split()[1].rstrip(":") for line in status(experiment)}


def test_a_whole_run_is_complete(whole):
    assert set(_states(whole).values()) == {"complete"}
    check_lineage(whole, "prediction_scores")


@pytest.mark.parametrize("overwrite", [False, True])
def test_scores_of_cams_of_other_classes_are_refused(whole, overwrite):
    """classes.txt was put in another order, and ingested anew."""
    _images(whole, class_names=["dog", "cat"])
    first = r"corpus is stale: .*\(images\)\. Run qaclims corpus --overwrite \(.*\), then what is"
    with pytest.raises(ValueError, match=first):
        _make(whole, "scores", overwrite=overwrite)
    with pytest.raises(ValueError, match=r"qaclims run --from corpus"):
        check_lineage(whole, "scores")


def test_a_stale_artifact_of_its_own_names_its_own_job_alone(whole):
    _make(whole, "cam_net", b"2")
    with pytest.raises(ValueError, match=r"cams is stale: .*Run qaclims cams --overwrite$"):
        check_lineage(whole, "cams")
    check_lineage(whole, "cams", anew=["cams"])
    check_lineage(whole, "baseline_scores")


def test_equal_content_has_an_equal_identity(whole):
    before = artifact(whole, "cam_net").require()["identity"]
    _make(whole, "cam_net")
    assert artifact(whole, "cam_net").require()["identity"] == before
    check_lineage(whole, "prediction_scores")
    _make(whole, "cam_net", b"2")
    assert artifact(whole, "cam_net").require()["identity"] != before


def test_other_masks_keep_what_makes_no_use_of_them(whole):
    _images(whole, masks=b"png")
    stale = {name for name, state in _states(whole).items() if state == "stale"}
    assert stale == {name for name in ARTIFACTS if name.endswith("scores")} - {
        "new_prediction_scores"
    }
    check_lineage(whole, "predictions")
    with pytest.raises(ValueError, match=r"scores is stale: .*\(images\)"):
        check_lineage(whole, "scores")


def test_a_key_of_masks_is_no_part_of_what_makes_no_use_of_them(whole):
    voc = {"data": {"kind": "voc12", "root": "/voc", "max_errors": 9}}
    before = whole.with_overrides(voc)
    now = before.with_overrides({"data.masks": "Mine"})
    changed = {name for name in ARTIFACTS if own_artifact(now, name) != own_artifact(before, name)}
    scores = {name for name in ARTIFACTS if name.endswith("scores")} - {"new_prediction_scores"}
    assert changed == {"images", *scores}
    best = {"train.ritc.validate_every": 1, "train.ritc.keep": "best"}
    assert "data.masks" in own_artifact(now.with_overrides(best), "cams").recipe
    # A run of before this was so.
    target = own_artifact(now, "cams")
    manifest = {**artifact(whole, "cams").require(), "digest": "", "recipe": recipe(before, "cams")}
    assert target.matches(manifest)
    assert not own_artifact(now.with_overrides({"data.split": "val"}), "cams").matches(manifest)


def test_weights_that_masks_choose_make_use_of_them(whole):
    best = whole.with_overrides({"train.ritc.validate_every": 1, "train.ritc.keep": "best"})
    assert identities(best, "cam_net")["images"] != identities(whole, "cam_net")["images"]
    assert identities(best, "pairs") == identities(whole, "pairs")


def test_networks_belong_to_their_classes_whatever_identities_say(whole):
    _make(whole, "classifier", class_names=["dog", "cat"])
    with pytest.raises(ValueError, match=r"classifier was trained for the classes dog, cat, and"):
        check_lineage(whole, "baseline_cams", anew=["baseline_cams"])


def test_another_configuration_is_said_of_the_first_that_it_changes(whole):
    changed = whole.with_overrides({"train.ritc.loss.area": 9})
    with pytest.raises(ValueError, match="cam_net was made with another configuration") as caught:
        check_lineage(changed, "scores")
    assert f"run=NEW base=[{whole.run}]" in str(caught.value)
    assert "qaclims train-ritc --overwrite, then what is made from it" in str(caught.value)


def test_from_a_stage_on_is_what_follows_from_it_and_what_is_stale(whole):
    after = ["segmenter", "predictions", "prediction_scores"]
    new = ["new_predictions", "new_prediction_scores"]
    assert remade_from(whole, "masks") == ["masks", "mask_scores", *after, *new]
    assert remade_from(whole, "scores") == ["scores"]
    _make(whole, "classifier", b"2")
    anew = remade_from(whole, "corpus")
    assert {"corpus", "cam_net", "baseline_cams", "predictions"} <= set(anew)
    assert "classifier" not in anew
    assert "images" not in anew


def test_from_a_stage_that_the_configuration_lacks_is_an_error(whole):
    with pytest.raises(ValueError, match="cam_texts is no part of this run: choose one of images"):
        remade_from(whole, "cam_texts")


def test_a_status_says_what_is_stale_unfinished_and_missing(whole):
    _make(whole, "cam_net", b"2")
    changed = whole.with_overrides({"segment.flip": not whole.segment.flip})
    artifact(whole, "irn").clear()
    lines = {line.split()[0]: line for line in status(changed)}
    assert lines["cam_net"].split()[1] == "complete:"
    assert "stale: cam_net was made anew since: qaclims cams --overwrite" in lines["cams"]
    assert "stale: cams is stale: qaclims seeds --overwrite" in lines["seeds"]
    assert "of another configuration: segment.flip" in lines["predictions"]
    assert "missing: qaclims train-irn" in lines["irn"]
    artifact(whole, "irn").begin({})
    assert any("unfinished: qaclims train-irn" in line for line in status(whole))


def test_streamed_scores_need_no_cams(whole):
    streamed = whole.with_overrides({"evaluate.stream": True})
    assert "cams" not in ancestors(streamed, "scores")
    assert "cams" in ancestors(streamed, "seeds")
