import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaclims_ray.artifacts import artifact
from qaclims_ray.demo.words import CLASSES
from qaclims_ray.evaluate import stage
from qaclims_ray.evaluate.confusion import mean_iou
from qaclims_ray.evaluate.score import SCORES, count
from qaclims_ray.storage import read_json
from qaclims_ray.tables import read_table


def _expected(experiment, cams="cams"):
    images = read_table(artifact(experiment, "images"), ["name", "mask"]).to_pylist()
    masks = {row["name"]: row["mask"] for row in images if row["mask"] is not None}
    rows = read_table(artifact(experiment, cams)).to_pylist()
    return count(
        [row for row in rows if row["name"] in masks],
        masks,
        experiment.evaluate.thresholds,
        len(CLASSES),
    )


def _scores(experiment, name="scores"):
    return read_json(f"{artifact(experiment, name).uri}/{SCORES}")


@pytest.fixture
def copied(demo_run, tmp_path):
    """A run with images and CAMs of its own, to be changed; small batches for its scores."""
    for name in ("images", "cams"):
        shutil.copytree(artifact(demo_run, name).uri, tmp_path / name)
    pool = {"num_actors": 1, "num_cpus": 0.5, "batch_size": 3, "block_rows": 4}
    return demo_run.with_overrides({"run": str(tmp_path), "compute.evaluate": pool})


def _change(experiment, name, change):
    """Rewrite the rows of an artifact."""
    target = artifact(experiment, name)
    rows = [change(row) for row in read_table(target).to_pylist()]
    schema = read_table(target).schema
    for shard in target.shards():
        Path(shard.removeprefix("file://")).unlink()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), f"{target.uri}/part-00000.parquet")


@pytest.mark.parametrize(
    ("name", "cams"), [("scores", "cams"), ("baseline_scores", "baseline_cams")]
)
def test_scores_are_those_of_one_sum_over_all_images(demo_run, name, cams):
    scores = _scores(demo_run, name)
    np.testing.assert_allclose(scores["miou"], mean_iou(_expected(demo_run, cams)), atol=1e-6)
    assert scores["num_images"] == 8
    assert scores["settings"]["scored"] == cams
    assert scores["class_names"] == ["background", *CLASSES]


def test_images_without_ground_truth_are_left_out(copied):
    def without(row):
        return {**row, "mask": None} if row["name"] in {"train_000001", "train_000006"} else row

    _change(copied, "images", without)
    stage.run(copied)
    assert _scores(copied)["num_images"] == 6
    np.testing.assert_allclose(_scores(copied)["miou"], mean_iou(_expected(copied)), atol=1e-6)


def test_no_ground_truth_at_all_is_an_error(copied):
    _change(copied, "images", lambda row: {**row, "mask": None})
    with pytest.raises(ValueError, match="holds no ground truth"):
        stage.run(copied)
    assert not artifact(copied, "scores").is_complete()


def test_cams_of_images_that_are_not_there_are_an_error(copied):
    _change(copied, "cams", lambda row: {**row, "name": row["name"].replace("_", "-")})
    with pytest.raises(ValueError, match=r"lacks, such as 'train-000000'.*--overwrite"):
        stage.run(copied)


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "_sum", None)
    assert stage.run(demo_run).startswith("scores: complete already, 8 rows")


def test_the_table_shows_both_and_says_how_they_were_made(demo_run):
    lines = stage.table(demo_run).splitlines()
    best = _scores(demo_run)["best"]
    assert any(line.startswith("baseline CAM") for line in lines)
    (own,) = (line for line in lines if line.startswith("QA-CLIMS"))
    assert f"{100 * best['miou']:.1f} @ {best['threshold']:.2f}" in own
    for part in ("8 images", "split train", "scales [1.0]", "crf False"):
        assert part in lines[-1]


def test_scores_are_a_file_for_any_program(demo_run):
    text = Path(artifact(demo_run, "scores").uri, SCORES).read_text()
    assert "NaN" not in text
    assert json.loads(text)["thresholds"] == list(demo_run.evaluate.thresholds)
