import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaclims_ray.demo.words import CLASSES
from qaclims_ray.evaluate import label_maps, stage
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.images.cams import full_size
from qaclims_ray.images.decode import decode_mask, encode_mask
from qaclims_ray.ingest.label_maps import readers_of
from qaclims_ray.metrics.confusion import count, mean_iou, sweep
from qaclims_ray.report import export
from qaclims_ray.run.artifact import COMPLETE, artifact
from qaclims_ray.run.tables import read_table
from qaclims_ray.storage.files import read_json, write_json
from qaclims_ray.storage.parquet import write_parquet
from tests.build import relist


def _masks(experiment):
    images = read_table(artifact(experiment, "images"), ["name", "mask"]).to_pylist()
    return {row["name"]: decode_mask(row["mask"]) for row in images if row["mask"] is not None}


def _expected(experiment, cams="cams"):
    """mIoU of one sum of confusion matrices over all images."""
    masks = _masks(experiment)
    thresholds = experiment.evaluate.thresholds
    return mean_iou(
        sum(
            sweep(full_size(row), row["classes"], masks[row["name"]], thresholds, len(CLASSES))
            for row in read_table(artifact(experiment, cams)).to_pylist()
            if row["name"] in masks
        )
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
    changed = [change(row) for row in read_table(target).to_pylist()]
    rows = [row for row in changed if row is not None]
    schema = read_table(target).schema
    for shard in target.shards():
        Path(shard.removeprefix("file://")).unlink()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), f"{target.uri}/part-00000.parquet")
    relist(target)


@pytest.mark.parametrize(
    ("name", "cams"), [("scores", "cams"), ("baseline_scores", "baseline_cams")]
)
def test_scores_are_those_of_one_sum_over_all_images(demo_run, name, cams):
    scores = _scores(demo_run, name)
    np.testing.assert_allclose(scores["miou"], _expected(demo_run, cams), atol=1e-6)
    assert scores["num_images"] == 8
    assert scores["settings"]["scored"] == cams
    assert scores["class_names"] == ["background", *CLASSES]


def test_images_without_ground_truth_are_left_out(copied):
    def without(row):
        return {**row, "mask": None} if row["name"] in {"train_000001", "train_000006"} else row

    _change(copied, "images", without)
    line = stage.run(copied)
    assert line.startswith("scores: 6 rows, 0 errors")
    assert re.search(r" · mIoU [\d.]+% of cams at threshold 0\.\d, image labels used · ", line)
    assert line.endswith(" · 2 images without ground truth")
    assert stage.run(copied).endswith(" · 2 images without ground truth")
    assert _scores(copied)["num_images"] == 6
    np.testing.assert_allclose(_scores(copied)["miou"], _expected(copied), atol=1e-6)


def test_scores_of_empty_cams_say_so(copied, caplog):
    _change(copied, "cams", lambda row: {**row, "cam": bytes(len(row["cam"]))})
    stage.run(copied)
    assert "scores: the same at each threshold, as of cams that are 0 everywhere" in caplog.text
    assert artifact(copied, "scores").require()["facts"]["flat_scores"]


def test_no_ground_truth_at_all_is_an_error(copied):
    _change(copied, "images", lambda row: {**row, "mask": None})
    with pytest.raises(ValueError, match="holds no ground truth"):
        stage.run(copied)
    assert not artifact(copied, "scores").is_complete()


def test_names_that_do_not_match_are_an_error(copied):
    _change(copied, "cams", lambda row: {**row, "name": row["name"].replace("_", "-")})
    with pytest.raises(ValueError, match=r"lacks images of .*: 8 of 8, such as 'train-000000'"):
        stage.run(copied)


def test_an_image_with_ground_truth_but_without_cams_is_an_error(copied):
    """No score leaves out what is hard to score."""
    _change(copied, "cams", lambda row: None if row["name"] == "train_000003" else row)
    with pytest.raises(
        ValueError, match=r"1 of 8, such as 'train_000003'.*--overwrite.*evaluate\.names"
    ):
        stage.run(copied)


def test_only_images_on_the_list_are_scored(copied, tmp_path):
    (tmp_path / "held_out.txt").write_text("train_000005\n\ntrain_000002\n")
    listed = copied.with_overrides({"evaluate.names": str(tmp_path / "held_out.txt")})
    assert stage.run(listed).endswith(" · 6 images not scored")
    others = {"train_000005", "train_000002"}
    _change(copied, "images", lambda row: row if row["name"] in others else {**row, "mask": None})
    scores = _scores(listed)
    assert scores["num_images"] == 2
    assert scores["settings"]["names"].endswith("held_out.txt")
    np.testing.assert_allclose(scores["miou"], _expected(copied), atol=1e-6)


def test_an_image_on_the_list_without_ground_truth_is_an_error(copied, tmp_path):
    """No score leaves out what somebody asked for."""
    (tmp_path / "names.txt").write_text("train_000002\ntrain_000005\n")
    listed = copied.with_overrides({"evaluate.names": str(tmp_path / "names.txt")})
    others = {"train_000005", "train_000007"}
    _change(copied, "images", lambda row: {**row, "mask": None} if row["name"] in others else row)
    with pytest.raises(
        ValueError, match=r"lacks ground truth.*: 1 of 2, such as 'train_000005': take them off"
    ):
        stage.run(listed)
    assert not artifact(listed, "scores").is_complete()


@pytest.mark.parametrize("listed", [False, True])
def test_images_that_could_not_be_read_are_stated(copied, tmp_path, listed):
    torn = {"train_000001", "train_000006"}
    for name in ("images", "cams"):
        _change(copied, name, lambda row: None if row["name"] in torn else row)
    cams = artifact(copied, "cams")
    write_json(f"{cams.uri}/{COMPLETE}", {**cams.require(), "rows": 6})
    errors = pa.table({"name": sorted(torn), "reason": ["ValueError: torn"] * 2})
    write_parquet(errors, f"{artifact(copied, 'images').uri}/_errors/part-00000.parquet")
    if listed:
        (tmp_path / "names.txt").write_text("train_000000\ntrain_000001\n")
        copied = copied.with_overrides({"evaluate.names": str(tmp_path / "names.txt")})
    line, scores = stage.run(copied), _scores(copied)
    assert line.endswith(f" · {1 if listed else 2} images that could not be read")
    assert (scores["num_images"], scores["settings"]["unreadable"]) == (
        (1, 1) if listed else (6, 2)
    )
    assert f"unreadable {1 if listed else 2}" in " ".join(stage.table(copied).split())


def test_a_list_of_unknown_names_is_an_error(copied, tmp_path):
    (tmp_path / "names.txt").write_text("train_000005\nval_7\n")
    with pytest.raises(ValueError, match=r"lacks images: 1 of 2, such as 'val_7': mend evaluate"):
        stage.run(copied.with_overrides({"evaluate.names": str(tmp_path / "names.txt")}))
    with pytest.raises(ValueError, match=r"evaluate\.names: there is no file 'nowhere\.txt'"):
        stage.run(copied.with_overrides({"evaluate.names": "nowhere.txt"}))


def test_an_image_that_cannot_be_scored_is_an_error(copied):
    def broken(row):
        return {**row, "mask": b"no picture"} if row["name"] == "train_000004" else row

    _change(copied, "images", broken)
    with pytest.raises(ValueError, match=r"1 images could not be scored, see .*_errors"):
        stage.run(copied)
    assert not artifact(copied, "scores").is_complete()


def _score_label_maps(experiment, uri):
    return label_maps.run_label_maps(experiment, str(uri), readers_of(experiment, str(uri)))


class TestLabelMaps:
    @pytest.fixture
    def folder(self, demo_run, tmp_path):
        """Ground truth moved to the right by two pixels."""
        for name, truth in _masks(demo_run).items():
            (tmp_path / f"{name}.png").write_bytes(encode_mask(np.roll(truth, 2, axis=1)))
        return tmp_path

    def test_they_are_scored_and_the_result_lies_in_the_run(self, demo_run, folder):
        shown = _score_label_maps(demo_run, folder)
        uri = re.search(r"label maps: 8 rows · (\S+)", shown).group(1)
        assert f"{demo_run.run}/label_map_scores/{folder.name}-" in uri
        masks = _masks(demo_run).values()
        counts = sum(count(np.roll(mask, 2, axis=1), mask, len(CLASSES)) for mask in masks)
        scores = read_json(uri)
        assert scores["fixed"]["miou"] == pytest.approx(float(mean_iou(counts)), abs=1e-6)
        assert scores["settings"]["scored"] == str(folder)
        assert f"{100 * scores['fixed']['miou']:.1f}" in shown

    @pytest.mark.parametrize("fmt", ["png", "coco", "yolo", "labelme"])
    def test_what_was_exported_has_the_scores_of_the_artifact(self, demo_run, tmp_path, fmt):
        export.run(demo_run, "masks", str(tmp_path), fmt=fmt, suffix=".jpg")
        shown = _score_label_maps(demo_run, tmp_path)
        found = read_json(re.search(r"label maps: 8 rows · (\S+)", shown).group(1))
        expected = _scores(demo_run, "mask_scores")
        for key in ("best", "fixed", "num_images"):
            assert found[key] == expected[key]

    def test_missing_ones_are_listed(self, demo_run, folder):
        for number in (2, 6):
            (folder / f"train_00000{number}.png").unlink()
        with pytest.raises(
            ValueError, match=r"lacks label maps .*: 2 of 8, such as 'train_000002', 'train_000006'"
        ):
            _score_label_maps(demo_run, folder)

    def test_one_that_does_not_fit_is_named(self, demo_run, folder):
        (folder / "train_000003.png").write_bytes(encode_mask(np.zeros((5, 5), np.uint8)))
        with pytest.raises(ValueError, match=r"train_000003\.png: the mask is 5 x 5 pixels"):
            _score_label_maps(demo_run, folder)


def test_a_second_run_does_nothing(demo_run, monkeypatch):
    monkeypatch.setattr(stage, "map_actor", None)
    assert stage.run(demo_run).startswith("scores: complete already, 8 rows")


def test_the_table_shows_both_and_says_how_they_were_made(demo_run):
    text = stage.table(demo_run)
    best = _scores(demo_run)["best"]
    assert f"QA-CLIMS CAM, best @ {best['threshold']:.2f}" in text
    assert f"{100 * best['miou']:.1f}" in text
    assert "Baseline CAM, fixed @" in text
    settings = " ".join(text.partition("\n8 images")[2].splitlines())
    for part in ("split train", "scales [1.0]", "crf False", "stride 4", "image labels used"):
        assert part in settings
    assert "Predictions, label maps" in text
    assert "image labels not used" in settings


def test_scores_are_a_file_for_any_program(demo_run):
    text = Path(artifact(demo_run, "scores").uri, SCORES).read_text()
    assert "NaN" not in text
    assert json.loads(text)["thresholds"] == list(demo_run.evaluate.thresholds)
