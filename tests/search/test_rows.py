import json

import pyarrow.csv as pa_csv

from qaclims_ray.search.rows import read_trials, trial_row, write_trials
from qaclims_ray.storage.files import write_json


def _logged(folder, scores):
    lines = [
        json.dumps({"epoch": i, "step": i, "miou": score, "threshold": 0.3, "recall": 0.1})
        for i, score in enumerate(scores)
    ]
    path = folder / "cam_net" / "metrics" / "validation.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines))


def test_a_trials_row_is_read_from_its_run(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    folder = tmp_path / "trial_00003"
    _logged(folder, [0.2, 0.4])
    write_json(f"{folder}/overrides.json", {"train.ritc.alpha": 0.5})
    write_json(f"{folder}/curve.json", [0.1, 0.4])
    stopped = trial_row(experiment, str(folder), None)
    assert (stopped["status"], stopped["seconds"]) == ("stopped", None)
    failed = trial_row(experiment, str(folder), "\x1b[36mTraceback\x1b[39m")
    assert (failed["status"], failed["error"]) == ("failed", "Traceback")
    write_json(f"{folder}/cam_net/_COMPLETE.json", {"seconds": 3.1})
    row = trial_row(experiment, str(folder), None)
    assert (row["trial"], row["status"], row["epochs"]) == ("trial_00003", "complete", 2)
    assert (row["score"], row["scores"], row["curve"]) == (0.4, [0.2, 0.4], [0.1, 0.4])
    assert (row["overrides"], row["seconds"]) == ({"train.ritc.alpha": 0.5}, 3.1)
    by_recall = experiment.with_overrides({"tune.metric": "recall"})
    assert trial_row(by_recall, str(folder), None)["score"] == 0.1


def test_a_trial_that_died_at_once_has_a_row(make_experiment, tmp_path):
    row = trial_row(make_experiment(tmp_path), str(tmp_path / "trial_1"), "killed")
    assert (row["status"], row["epochs"], row["score"]) == ("failed", 0, None)


def test_the_table_is_read_as_it_was_written(experiment, rows, tmp_path):
    write_trials(rows, experiment, str(tmp_path))
    assert read_trials(str(tmp_path), experiment.tune.space) == rows
    table = pa_csv.read_csv(tmp_path / "trials.csv")
    assert table["trial"].to_pylist() == [row["trial"] for row in rows]
    assert table["cams.scales"].to_pylist()[0] in ("[1.0]", "[1.0, 1.5]")
