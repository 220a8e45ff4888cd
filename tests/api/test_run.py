import shutil

import numpy as np
import pytest

from qaclims_ray import Run
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.cams import full_size
from qaclims_ray.run.artifact import COMPLETE, artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_json


@pytest.fixture(scope="module")
def run(demo_run):
    return Run(demo_run.run)


@pytest.fixture
def copy(demo_run, tmp_path):
    """A run of one's own, to damage."""
    shutil.copytree(demo_run.run, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_knows_how_it_was_made(run, demo_run):
    assert run.experiment == demo_run.anchored()
    assert set(run.status().values()) >= {run.status()["images"]}
    assert all(state.startswith("complete") for state in run.status().values())
    assert repr(run) == f"Run({demo_run.run!r})"


def test_a_moved_run_is_where_it_is_now(copy):
    assert Run(copy).experiment.run == str(copy)
    assert len(Run(copy).names()) == 8


def test_scores_are_those_of_the_files(run, demo_run):
    table = run.scores()
    found = read_json(f"{artifact(demo_run, 'scores').uri}/{SCORES}")
    best = table[(table["artifact"] == "cams") & (table["at"] == "best")].iloc[0]
    assert best["miou"] == found["best"]["miou"]
    assert [best["miou_low"], best["miou_high"]] == found["best"]["intervals"]["miou"]
    masks = table[table["artifact"] == "masks"]
    assert masks["at"].tolist() == ["all"]
    assert masks["threshold"].isna().all()
    classes = run.class_scores()
    ious = classes[classes["artifact"] == "cams"]["iou"]
    assert [None if np.isnan(iou) else iou for iou in ious] == found["best"]["iou"]


def test_what_an_image_has_comes_as_arrays(run, demo_run):
    name = run.names()[3]
    row = read_table(artifact(demo_run, "cams")).to_pylist()[3]
    cams = run.cams(name)
    assert list(cams) == run.labels(name)
    assert np.array_equal(np.stack(list(cams.values())), full_size(row))
    shape = run.image(name).shape[:2]
    for label_map in (run.ground_truth(name), run.masks(name), run.predictions(name)):
        assert label_map is not None
        assert label_map.shape == shape
    assert run.seeds(name) is not None
    new = run.dataset("new_images").to_table(columns=["name"])["name"][0].as_py()
    assert run.label_map(new, "new_predictions") is not None


def test_answers_have_the_columns_and_images_that_were_asked_for(run, demo_run):
    every = run.answers()
    assert every.column_names == ["name", "class", "kind", "question", "answer", "lemma"]
    rows = read_table(artifact(demo_run, "corpus"))["answers"].to_pylist()
    assert every["answer"].to_pylist() == [one["answer"] for own in rows for one in own]
    name = run.names()[0]
    some = run.answers(columns=["lemma"], names=[name])
    assert some.column_names == ["lemma"]
    assert some["lemma"].to_pylist() == [one["lemma"] for one in rows[0]]


def test_predicting_the_runs_images_gives_what_the_run_has(run):
    name = run.names()[0]
    image = run.image(name)
    assert np.array_equal(run.predict([image, image[:40]])[0], run.predictions(name))
    (cams,) = run.predict_cams([image], [run.labels(name)])
    for title, cam in run.cams(name).items():
        assert np.allclose(cams[title], cam, atol=2e-3)  # the run's are rounded to float16


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda run: run.cams("train_00001"), "no image in cams 'train_00001': did you mean train"),
        (lambda run: run.cams("train_000001", "cam"), "no artifact of CAMs 'cam': did you mean"),
        (lambda run: run.dataset("irn"), "no table 'irn'"),
        (lambda run: run.predict(["nowhere.jpg"]), "nowhere.jpg"),
        (lambda run: run.predict([np.zeros((3, 3))]), "of shape .3, 3. and type float64"),
        (lambda run: run.predict_cams(["a.jpg"], [["unicorn"]]), "no class 'unicorn'"),
        (lambda run: run.predict_cams(["a.jpg"], []), "1 images and 0 lists of labels"),
        (lambda _: Run("runs/nowhere"), "there is nothing in .*runs/nowhere"),
    ],
)
def test_mistakes_are_named(run, ask, said):
    with pytest.raises(ValueError, match=said):
        ask(run)


def test_what_is_not_complete_stale_or_damaged_is_an_error_with_its_remedy(copy):
    (copy / "masks" / COMPLETE).unlink()
    with pytest.raises(ValueError, match=r"masks is not complete: run qaclims masks first"):
        Run(copy).masks("train_000000")
    next((copy / "cams").glob("part-*.parquet")).unlink()
    with pytest.raises(ValueError, match=r"cams is damaged.*parquet is missing"):
        Run(copy).cams("train_000000")
    assert Run(copy).status()["cams"].startswith("damaged")
    assert "cams" not in set(Run(copy).class_scores().query("artifact == 'masks'")["artifact"])
