import shutil
from pathlib import Path

import numpy as np
import pytest

from qaclims_ray.config.study import Study, Variant, load_study
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.run.artifact import artifact, own_artifact
from qaclims_ray.search.ablation import (
    Row,
    choose_threshold,
    markdown,
    run_study,
    split_experiment,
    trials,
)
from qaclims_ray.storage.files import read_json

STUDY = """\
config: ../base.yaml
run: runs/study
overrides: {cams.scales: [1.0]}
tuning: {data.split: tune}
reporting: {data.split: train, data.num_images: 7}
reporting_seeds: [0, 5]
variants:
  baseline: {title: baseline CAM, network: classifier}
  full: {title: QA-CLIMS}
  no area: {title: without REG, overrides: {train.ritc.loss.area: 0, cams.scales: [2.0]}}
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "base.yaml").write_text("name: base\nrun: runs/base\ndata: {kind: demo}\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "a.yaml").write_text(STUDY)
    return load_study(tmp_path / "studies" / "a.yaml")


def test_a_splits_experiment_is_the_base_with_the_studys_and_the_splits_overrides(study):
    experiment = split_experiment(study, "reporting")
    assert experiment.cams.scales == (1.0,)
    assert (experiment.data.split, experiment.data.num_images) == ("train", 7)
    assert experiment.run == "runs/study/reporting/shared"
    assert experiment.compute.train.num_workers == 0
    assert split_experiment(study, "tuning").data.split == "tune"


def test_every_variant_is_tried_with_every_seed(study):
    found = list(trials(study, "reporting"))
    assert [(trial.variant, trial.seed) for trial in found] == [
        (variant, seed) for variant in ("baseline", "full", "no area") for seed in (0, 5)
    ]
    assert [trial.experiment.train.seed for trial in found] == [0, 5] * 3
    assert [trial.network for trial in found[:3]] == ["classifier", "classifier", "cam_net"]
    assert len({trial.experiment.run for trial in found}) == 6
    assert len(list(trials(study, "tuning"))) == 3


def test_a_variants_overrides_win_over_the_studys(study):
    last = list(trials(study, "reporting"))[-1].experiment
    assert last.train.ritc.loss.area == 0
    assert last.cams.scales == (2.0,)


def test_trials_share_what_they_have_in_common(study):
    """Each finds classifiers by seed, texts by variant, and all else in its base runs."""
    full, no_area = (list(trials(study, "reporting"))[i].experiment for i in (3, 5))
    assert "runs/study/reporting/classifiers/seed-5" in full.base
    assert "runs/study/reporting/shared" in full.base
    for name in ("images", "corpus", "texts", "classifier"):
        assert own_artifact(full, name).digest == own_artifact(no_area, name).digest
    assert own_artifact(full, "cam_net").digest != own_artifact(no_area, "cam_net").digest


def test_a_variants_seeds_may_draw_images(study):
    """Each seed then has images and texts of its own, which variants of the same seed share."""
    drawn = Variant(title="frozen CLIP", seeds="images", overrides={"cams.kind": "clip"})
    twin = drawn.model_copy(update={"overrides": {**drawn.overrides, "cams.clip.affinity": False}})
    variants = {**study.variants, "clip": drawn, "plain": twin}
    found = list(trials(study.model_copy(update={"variants": variants}), "reporting"))
    first, second, other, _ = found[-4:]
    assert [trial.experiment.data.seed for trial in found[-4:]] == [0, 5, 0, 5]
    assert {trial.experiment.data.seed for trial in found[:-4]} == {0}
    images = [own_artifact(trial.experiment, "images").digest for trial in (first, second, other)]
    assert images[0] == images[2] != images[1]
    assert first.base.run == other.base.run == "runs/study/reporting/images/seed-0"
    assert first.base.run in first.experiment.base
    texts = {trial.with_texts.run for trial in found}
    assert len(texts) == len(study.variants) + 4
    assert all(trial.with_texts.run in trial.experiment.base for trial in found)


def test_the_threshold_of_the_highest_mean_is_chosen():
    curves = [[0.1, 0.5, 0.4, 0.0], [0.3, 0.2, 0.4, 0.0]]
    assert choose_threshold([0.1, 0.2, 0.3, 0.4], curves) == 0.3
    assert choose_threshold([0.1, 0.2], [[0.5, 0.5]]) == 0.1


def test_the_table_shows_means_and_spreads_in_percent():
    rows = [Row("full", 0.3, [0.5, 0.6, 0.7], [0.6, 0.7, 0.8]), Row("one", 0.25, [0.4], [0.45])]
    lines = markdown(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    spread = 100 * np.std([0.5, 0.6, 0.7], ddof=1)
    assert lines[2] == f"| full | 60.0 | ±{spread:.1f} | 0.30 | 70.0 |"
    assert lines[3] == "| one | 40.0 | ±0.0 | 0.25 | 45.0 |"


SEEDS = (3, 4)


@pytest.fixture(scope="module")
def small_study(demo_run, demo_config, small, tmp_path_factory):
    """Two variants on the images of the demo run, which both splits have already."""
    run = tmp_path_factory.mktemp("study")
    for split in ("tuning", "reporting"):
        for name in ("images", "corpus", "pairs", "texts"):
            shutil.copytree(artifact(demo_run, name).uri, run / split / "shared" / name)
    return Study(
        config=str(demo_config),
        run=str(run),
        overrides=small,
        tuning={},
        tuning_seeds=(3,),
        reporting={},
        reporting_seeds=SEEDS,
        variants={
            "baseline": {"title": "baseline CAM", "network": "classifier"},
            "without_brc": {
                "title": "without BRC",
                "overrides": {"train.ritc.loss.background": 0},
            },
        },
    )


@pytest.fixture(scope="module")
def shown(small_study, claim):
    # What a lost node left behind of the same study is in nobody's way.
    claim(f"{small_study.run}/tuning/classifiers/seed-3/classifier", small_study.run)
    return run_study(small_study)


def _scores(trial):
    name = "baseline_scores" if trial.network == "classifier" else "scores"
    return read_json(f"{artifact(trial.experiment, name).uri}/{SCORES}")


def test_the_table_is_written_and_shown(small_study, shown):
    table = Path(small_study.run, "table.md").read_text()
    assert shown.startswith(table.rstrip("\n"))
    assert f"{small_study.run}/table.md" in shown
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["baseline CAM", "without BRC"]


def test_a_row_reports_at_the_threshold_that_tuning_chose(small_study, shown):
    for row, variant in zip(
        read_json(f"{small_study.run}/table.json"), small_study.variants, strict=True
    ):
        (tuned,) = (_scores(t) for t in trials(small_study, "tuning") if t.variant == variant)
        index = tuned["thresholds"].index(row["threshold"])
        assert tuned["miou"][index] == max(tuned["miou"])
        reported = [_scores(t) for t in trials(small_study, "reporting") if t.variant == variant]
        assert row["miou"] == [scores["miou"][index] for scores in reported]
        assert row["best"] == [max(scores["miou"]) for scores in reported]
        assert len(row["miou"]) == len(SEEDS)


def test_trials_write_no_cams_and_share_what_is_the_same(small_study, shown):
    assert not list(Path(small_study.run).rglob("cams"))
    assert len(list(Path(small_study.run).rglob("images"))) == 2
    ritc = [trial for trial in trials(small_study, "reporting") if trial.network == "cam_net"]
    for trial in ritc:
        used = artifact(trial.experiment, "classifier").uri
        assert f"classifiers/seed-{trial.seed}" in used


def test_a_second_call_trains_nothing(small_study, shown, monkeypatch):
    scores = {
        path: path.stat().st_mtime_ns for path in Path(small_study.run).rglob("_COMPLETE.json")
    }
    assert run_study(small_study) == shown
    assert scores == {path: path.stat().st_mtime_ns for path in scores}


@pytest.mark.parametrize(
    ("wanted", "told"), [({"use_gpu": True}, "1 GPUs"), ({"num_cpus": 9.0}, "9 CPUs")]
)
def test_what_no_trial_can_get_is_said_at_once(small_study, tmp_path, wanted, told):
    train = {f"compute.train.{key}": value for key, value in wanted.items()}
    overrides = {**small_study.overrides, **train}
    lacking = small_study.model_copy(update={"run": str(tmp_path), "overrides": overrides})
    with pytest.raises(ValueError, match=rf"{told} are needed.*lower compute\.train"):
        run_study(lacking)
    assert not list(tmp_path.iterdir())
