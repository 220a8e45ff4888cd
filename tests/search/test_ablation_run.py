import shutil
import time
from pathlib import Path

import pytest

from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.lease import OWNER
from qaclims_ray.search import ablation as tune
from qaclims_ray.search.ablation import Study, trials
from qaclims_ray.storage.files import read_json, write_json

SEEDS = (3, 4)


@pytest.fixture(scope="module")
def study(demo_run, demo_config, small, tmp_path_factory):
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
def shown(study):
    # Left behind by a process of the study whose node was lost: it is in nobody's way.
    left = {"host": "elsewhere", "pid": 1, "alive": time.time(), "job": study.run}
    write_json(f"{study.run}/tuning/classifiers/seed-3/classifier/{OWNER}", left)
    return tune.run_study(study)


def _scores(trial):
    name = "baseline_scores" if trial.network == "classifier" else "scores"
    return read_json(f"{artifact(trial.experiment, name).uri}/{SCORES}")


def test_the_table_is_written_and_shown(study, shown):
    table = Path(study.run, "table.md").read_text()
    assert shown.startswith(table.rstrip("\n"))
    assert f"{study.run}/table.md" in shown
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["baseline CAM", "without BRC"]


def test_a_row_reports_at_the_threshold_that_tuning_chose(study, shown):
    for row, variant in zip(read_json(f"{study.run}/table.json"), study.variants, strict=True):
        (tuned,) = (_scores(t) for t in trials(study, "tuning") if t.variant == variant)
        index = tuned["thresholds"].index(row["threshold"])
        assert tuned["miou"][index] == max(tuned["miou"])
        reported = [_scores(t) for t in trials(study, "reporting") if t.variant == variant]
        assert row["miou"] == [scores["miou"][index] for scores in reported]
        assert row["best"] == [max(scores["miou"]) for scores in reported]
        assert len(row["miou"]) == len(SEEDS)


def test_trials_write_no_cams_and_share_what_is_the_same(study, shown):
    assert not list(Path(study.run).rglob("cams"))
    assert len(list(Path(study.run).rglob("images"))) == 2
    ritc = [trial for trial in trials(study, "reporting") if trial.network == "cam_net"]
    for trial in ritc:
        used = artifact(trial.experiment, "classifier").uri
        assert f"classifiers/seed-{trial.seed}" in used


def test_a_second_call_trains_nothing(study, shown, monkeypatch):
    scores = {path: path.stat().st_mtime_ns for path in Path(study.run).rglob("_COMPLETE.json")}
    assert tune.run_study(study) == shown
    assert scores == {path: path.stat().st_mtime_ns for path in scores}


@pytest.mark.parametrize(
    ("wanted", "told"), [({"use_gpu": True}, "1 GPUs"), ({"num_cpus": 9.0}, "9 CPUs")]
)
def test_what_no_trial_can_get_is_said_at_once(study, tmp_path, wanted, told):
    train = {f"compute.train.{key}": value for key, value in wanted.items()}
    overrides = {**study.overrides, **train}
    lacking = study.model_copy(update={"run": str(tmp_path), "overrides": overrides})
    with pytest.raises(ValueError, match=rf"{told} are needed.*lower compute\.train"):
        tune.run_study(lacking)
    assert not list(tmp_path.iterdir())
