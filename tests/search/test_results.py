import yaml

from qaclims_ray.config.experiment import load
from qaclims_ray.search.results import (
    SeedCurves,
    finalist,
    finalists,
    search_artifact,
    winner,
    write_results,
)
from qaclims_ray.search.trial import Candidate

THRESHOLDS = [0.1, 0.3, 0.5, 0.7, 0.9]


def test_finalists_are_the_own_values_and_the_best_complete_trials(rows):
    rows[0]["status"] = "stopped"
    found = finalists(rows, 3, "run/search/trials")
    scores = {row["trial"]: row["score"] for row in rows if row["status"] == "complete"}
    assert found[0] == Candidate("default", {})
    assert [one.name for one in found[1:]] == sorted(scores, key=lambda name: -scores[name])[:3]
    assert found[1].base == (f"run/search/trials/{found[1].name}",)


def test_the_threshold_is_chosen_by_other_images_than_those_reported():
    curves = [
        SeedCurves([0.1, 0.5, 0.4, 0, 0], [0.9, 0.2, 0.3, 0, 0]),
        SeedCurves([0.3, 0.2, 0.4, 0, 0], [0.8, 0.1, 0.5, 0, 0]),
    ]
    found = finalist(Candidate("a", {"x": 1}), [0, 7], curves, THRESHOLDS)
    assert found["threshold"] == 0.5
    assert found["choosing"] == [0.4, 0.4]
    assert found["held_out"] == [0.3, 0.5]


def test_a_seed_that_diverged_counts_as_nothing():
    curves = [SeedCurves([0.1, 0.5, 0.4, 0, 0], [0.9, 0.2, 0.3, 0, 0]), None]
    found = finalist(Candidate("a", {}), [0, 7], curves, THRESHOLDS)
    assert (found["choosing"], found["held_out"]) == ([0.5, 0.0], [0.2, 0.0])
    assert found["diverged"] == [7]


def test_the_winner_is_chosen_by_the_choosing_images():
    flat = [
        finalist(Candidate(name, {}), [0], [SeedCurves([mine] * 5, [other] * 5)], THRESHOLDS)
        for name, mine, other in (("default", 0.3, 0.9), ("trial_1", 0.4, 0.1))
    ]
    assert winner(flat)["name"] == "trial_1"


def test_the_best_configuration_is_complete_and_says_its_score(experiment, rows, tmp_path):
    candidate = finalists(rows, 1, "trials")[1]
    curves = [SeedCurves([0.1, 0.5, 0.4, 0, 0], [0.9, 0.25, 0.3, 0, 0])]
    write_results(experiment, rows, [finalist(candidate, [4], curves, THRESHOLDS)], str(tmp_path))
    best = load(tmp_path / "best.yaml")
    assert best.train.ritc.loss.foreground == candidate.overrides["train.ritc.loss.foreground"]
    assert best.evaluate.threshold == 0.3
    assert best.evaluate.names == f"{tmp_path}/held_out.txt"
    assert (best.train.seed, best.tune.space) == (4, {})
    assert best.run not in best.base
    assert "mIoU 25.00" in (tmp_path / "best.yaml").read_text()
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == best.plain()


def test_another_space_is_another_search(experiment):
    first = search_artifact(experiment)
    assert first.uri.endswith("/run/search")
    assert search_artifact(experiment).digest == first.digest
    changed = experiment.with_overrides({"tune.num_trials": 24})
    assert search_artifact(changed).digest != first.digest
    elsewhere = experiment.with_overrides({"compute.tune.max_concurrent": 7})
    assert search_artifact(elsewhere).digest == first.digest
    refined = experiment.with_overrides({"tune.refine": {"min_coverage": 0.5}})
    assert search_artifact(refined).digest == first.digest
