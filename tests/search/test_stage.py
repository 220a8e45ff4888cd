import re
import shutil
from pathlib import Path

import pytest

from qaclims_ray.config.experiment import load
from qaclims_ray.evaluate import stream
from qaclims_ray.evaluate.score import SCORES
from qaclims_ray.report.search import search_summary
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.name_list import read_names
from qaclims_ray.search import stage
from qaclims_ray.search.rows import read_trials
from qaclims_ray.storage.files import read_json
from qaclims_ray.train import stage as train

RATE = "train.ritc.optimiser.learning_rate"
SEARCH = {
    # The second learning rate ruins the weights in one step, so that the next fails.
    "tune.space": {RATE: {"grid": [1.0e-3, 1.0e30]}},
    "tune.num_trials": 2,
    "tune.num_finalists": 1,
    "tune.seeds": [0],
    "train.ritc.epochs": 2,
    "compute.tune.max_failures": 0,
}


@pytest.fixture(scope="module")
def make_search(upon_demo):
    """A search that shares what the demo run has."""

    return lambda run, overrides=None: upon_demo(run, {**SEARCH, **(overrides or {})})


@pytest.fixture(scope="module")
def searched(make_search, tmp_path_factory):
    """A finished search, and what it said."""
    experiment = make_search(tmp_path_factory.mktemp("search"))
    return experiment, stage.run(experiment)


@pytest.fixture
def rows(searched):
    experiment, _ = searched
    return read_trials(f"{experiment.run}/search", experiment.tune.space)


def test_a_failing_trial_is_recorded_and_stops_no_other(searched, rows):
    good, bad = rows
    assert (good["status"], good["epochs"], len(good["scores"])) == ("complete", 2, 2)
    assert good["score"] == pytest.approx(max(good["curve"]), abs=1e-6)
    assert (bad["status"], bad["overrides"]) == ("failed", {RATE: 1e30})
    assert 'train/loop.py", line' in bad["error"]
    assert "not finite" in bad["error"]
    assert "2 trials, 1 failed" in searched[1]


def test_trials_write_networks_and_share_all_else(searched):
    experiment, _ = searched
    assert sorted(path.name for path in Path(experiment.run).iterdir()) == ["search"]
    folder = Path(experiment.run, "search", "trials", "trial_00000")
    names = {path.name for path in folder.iterdir()}
    assert names == {"cam_net", "config.yaml", "curve.json", "overrides.json"}


def test_the_best_trial_is_compared_with_the_own_values(searched):
    experiment, shown = searched
    found = read_json(f"{experiment.run}/search/finalists.json")
    assert [one["name"] for one in found["finalists"]] == ["default", "trial_00000"]
    assert found["winner"] in shown
    # The trial's network was used: nothing was trained with the first seed again.
    assert not Path(experiment.run, "search/finalists/trial_00000/seed_0/cam_net").exists()
    assert Path(experiment.run, "search/finalists/default/seed_0/cam_net").exists()


def test_the_best_configuration_gives_the_score_that_it_promises(searched):
    experiment, _ = searched
    folder = f"{experiment.run}/search"
    found = read_json(f"{folder}/finalists.json")
    (best,) = (one for one in found["finalists"] if one["name"] == found["winner"])
    anew = load(f"{folder}/best.yaml")
    train.run(anew, "cam_net")
    stream.run_here(anew)
    scores = read_json(f"{artifact(anew, 'scores').uri}/{SCORES}")
    assert scores["fixed"]["threshold"] == best["threshold"]
    assert scores["fixed"]["miou"] == pytest.approx(best["held_out"][0], abs=1e-4)
    assert scores["num_images"] == len(list(read_names(f"{folder}/held_out.txt")))


def test_a_second_call_trains_nothing(searched):
    experiment, shown = searched
    before = {path: path.stat().st_mtime_ns for path in Path(experiment.run).rglob("*.safetensors")}
    assert stage.run(experiment) == shown
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_search_in_the_same_run_is_refused(searched):
    experiment, _ = searched
    with pytest.raises(ValueError, match=r"tune\.holdout: 0\.5 → 0\.4"):
        stage.run(experiment.with_overrides({"tune.holdout": 0.4}))


def test_the_report_shows_trials_finalists_and_failures(searched):
    experiment, _ = searched
    html = search_summary(experiment)
    assert "Own values of the configuration" in html
    assert "trial_00001 failed" in html
    assert "1 trained to the end, 0 stopped early, 1 failed" in html
    assert html.count("<svg") == 3
    assert "nan" not in "".join(re.findall("<svg.*?</svg>", html, re.S))
    assert search_summary(experiment.with_overrides({"run": "nowhere"})) == ""


def test_a_space_is_checked_before_anything_else(make_search, tmp_path):
    wrong = make_search(tmp_path, {"tune.space": {"train.ritc.alpha": {"uniform": [0, 2]}}})
    with pytest.raises(ValueError, match=r"tune\.space: train\.ritc\.alpha: .*got 2"):
        stage.check(wrong)
    assert not list(tmp_path.iterdir())


def test_what_trials_need_is_checked_though_what_they_share_is_there(
    make_search, searched, tmp_path, monkeypatch
):
    assert stage.check(make_search(tmp_path))[-1].startswith("cam_net: 2 epochs")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"run: /proc/search cannot be written"):
        stage.check(make_search("/proc/search"))
    complete, _ = searched
    assert stage.check(complete) == []
    assert stage.check(complete, overwrite=True)
    monkeypatch.setattr(
        "qaclims_ray.preflight.check.model_problems", lambda _, names: [f"no CLIP for {names}"]
    )
    with pytest.raises(ValueError, match=r"no CLIP for \['cam_net'\]"):
        stage.check(make_search(tmp_path))


def test_label_maps_that_no_node_has_room_for_are_said_before_anything_runs(upon_demo, tmp_path):
    for key, told in (("num_cpus", "8 CPUs"), ("num_gpus", "8 GPUs")):
        lacking = upon_demo(tmp_path, {"tune.refine": {}, f"compute.refine.{key}": 8})
        for call in (stage.check, stage.run):
            with pytest.raises(ValueError, match=rf"{told} are needed.*refine.*\.{key}"):
                call(lacking)
    assert not list(tmp_path.iterdir())


def test_more_than_the_cluster_has_is_said_before_anything_runs(make_search, tmp_path):
    wanted = {"compute.tune.max_concurrent": 3, "compute.tune.num_cpus": 2}
    with pytest.raises(ValueError, match="6 CPUs are needed, the Ray cluster has 4: lower compute"):
        stage.run(make_search(tmp_path, wanted))
    with pytest.raises(ValueError, match=r"0\.5 GPUs are needed, the Ray cluster has 0"):
        stage.run(make_search(tmp_path, {"compute.tune.num_gpus": 0.25}))
    workers = {"compute.tune.max_concurrent": 3, "compute.train.num_workers": 2}
    with pytest.raises(ValueError, match=r"6\.03 CPUs are needed"):
        stage.run(make_search(tmp_path, workers))
    assert not (tmp_path / "search").exists()


def test_thresholds_are_chosen_over_cams_that_are_there(upon_demo, tmp_path):
    wanted = {"seeds": [0.5], "masks": [0.4], "min_coverage": 0.5, "num_images": 2}
    experiment = upon_demo(tmp_path, {"tune.refine": wanted})
    lines = stage.run(experiment).splitlines()
    assert [line.split(":")[0] for line in lines] == ["seeds (par)", "masks (irn)"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["search"]
    seeds, masks = (read_json(f"{tmp_path}/search/{name}.json") for name in ("seeds", "masks"))
    assert seeds["choosing"]["coverage"] >= 0.5
    assert masks["thresholds"] == [0.2, 0.4]
    assert masks["choosing"]["miou"] == pytest.approx(max(masks["curve"]))
    assert masks["num_choosing"] == seeds["num_choosing"] == 2
    html = search_summary(experiment)
    assert "Thresholds of seeds" in html
    assert "Background score of pseudo masks" in html
    assert "CAMs refined by the random walk" in html


def test_what_the_thresholds_are_searched_over_must_be_there(demo_run, make_experiment, tmp_path):
    with pytest.raises(ValueError, match=r"run qaclims cams first"):
        stage.check(make_experiment(tmp_path, {"tune.refine": {}}))
    own = {"run": str(tmp_path / "own"), "tune.refine": {"seeds": []}}
    experiment = demo_run.with_overrides(own)
    for name in ("images", "cams"):
        shutil.copytree(artifact(demo_run, name).uri, tmp_path / "own" / name)
    with pytest.raises(ValueError, match=r"irn is not complete: run qaclims train-irn first"):
        stage.check(experiment)
    assert stage.check(experiment.with_overrides({"refine.masks.kind": "par"})) == []


@pytest.mark.slow
def test_asha_stops_what_lags_behind_and_optuna_proposes(make_search, tmp_path):
    experiment = make_search(
        tmp_path,
        {
            "tune.space": {"train.ritc.loss.area": {"log_uniform": [0.01, 10]}},
            "tune.num_trials": 6,
            "tune.searcher": "optuna",
            "tune.scheduler": "asha",
            "train.ritc.epochs": 4,
        },
    )
    stage.run(experiment)
    rows = read_trials(f"{tmp_path}/search", experiment.tune.space)
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"complete", "stopped"}
    assert all(row["epochs"] == 4 for row in rows if row["status"] == "complete")


@pytest.mark.slow
def test_a_time_budget_ends_the_trials(make_search, tmp_path):
    overrides = {"compute.tune.max_seconds": 1, "train.ritc.epochs": 20}
    experiment = make_search(tmp_path, {**overrides, "tune.space": {RATE: {"grid": [1e-4, 1e-3]}}})
    stage.run(experiment)
    rows = read_trials(f"{tmp_path}/search", experiment.tune.space)
    assert {row["status"] for row in rows} <= {"stopped"}
    found = read_json(f"{tmp_path}/search/finalists.json")
    assert [one["name"] for one in found["finalists"]] == ["default"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trials_train_by_workers_of_ray_train(make_search, tmp_path):
    overrides = {
        "compute.train.num_workers": 2,
        "compute.tune.max_concurrent": 1,
        "train.classifier.batch_size_per_worker": 2,
        "train.ritc.batch_size_per_worker": 2,
    }
    experiment = make_search(tmp_path, overrides)
    stage.run(experiment)
    good, bad = read_trials(f"{tmp_path}/search", experiment.tune.space)
    assert (good["status"], len(good["scores"])) == ("complete", 2)
    assert bad["status"] == "failed"
