from pathlib import Path

import pytest

from qaclims_ray.evaluate import stream as stage
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.faults import MAX_CRASHES
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_json


@pytest.fixture
def fresh(demo_run, tmp_path):
    """A run of its own with the images and networks of the demo run, but neither CAMs nor scores.

    Both networks see the same batches as in the demo run, where convolutions round alike.
    """
    for name in ("images", "classifier", "cam_net"):
        Path(tmp_path, name).symlink_to(Path(demo_run.run, name))
    return demo_run.with_overrides({"run": str(tmp_path), "evaluate.stream": True})


@pytest.mark.parametrize("baseline", [False, True])
def test_scores_are_those_of_the_two_stages_and_no_cam_is_written(demo_run, fresh, baseline):
    name = "baseline_scores" if baseline else "scores"
    line = stage.run(fresh, name)
    assert line.startswith(f"{name}: 8 rows, 0 errors")
    ours, theirs = (artifact(experiment, name) for experiment in (fresh, demo_run))
    assert ours.uri != theirs.uri
    assert read_json(f"{ours.uri}/{SCORES}") == read_json(f"{theirs.uri}/{SCORES}")
    assert read_table(ours).equals(read_table(theirs))
    assert not list(Path(fresh.run).glob("*cams"))


def test_the_same_in_this_process(demo_run, fresh):
    assert stage.run_here(fresh).startswith("scores: 8 rows")
    found = (read_json(f"{artifact(one, 'scores').uri}/{SCORES}") for one in (fresh, demo_run))
    assert next(found) == next(found)


def test_scoring_here_that_was_stopped_is_no_images_fault(fresh, monkeypatch):
    monkeypatch.setattr("qaclims_ray.model.predictor.CamPredictor.predict_rows", _interrupt)
    for _ in range(MAX_CRASHES):
        with pytest.raises(KeyboardInterrupt):
            stage.run_here(fresh)
    monkeypatch.undo()
    assert stage.run_here(fresh).startswith("scores: 8 rows, 0 errors")


def test_how_scores_were_made_is_no_part_of_what_they_are(fresh, demo_run):
    streamed = demo_run.with_overrides({"evaluate.stream": True})
    assert stage.run(streamed).startswith("scores: complete already")


def test_scores_say_which_network_they_are_of(fresh):
    stage.run(fresh)
    inputs = artifact(fresh, "scores").require()["inputs"]
    assert inputs == {
        name: artifact(fresh, name).require()["identity"] for name in ("images", "cam_net")
    }


def test_only_images_on_the_list_are_seen_by_the_network(fresh, tmp_path):
    (tmp_path / "names.txt").write_text("train_000005\ntrain_000002\n")
    listed = fresh.with_overrides({"evaluate.names": str(tmp_path / "names.txt")})
    assert stage.run(listed).endswith(" · 6 images not scored")
    rows = read_table(artifact(listed, "scores")).to_pylist()
    scored = [row["name"] for row in rows if row["classes"] is not None]
    assert scored == ["train_000002", "train_000005"]


def test_work_that_is_done_is_not_done_again(fresh, monkeypatch):
    """An interruption after the map and before its rows are published."""
    monkeypatch.setattr(stage.stage, "finish", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        stage.run(fresh)
    monkeypatch.undo()
    monkeypatch.setattr(stage.StreamScorer, "__init__", None)
    assert stage.run(fresh).startswith("scores: 8 rows")


def _interrupt(*_, **__):
    raise KeyboardInterrupt
