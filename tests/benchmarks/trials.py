"""What Ray adds to each trial of a search: trials in reused processes, in fresh ones, by workers.

    python tests/benchmarks/trials.py

The training is so short (8 images, 1 epoch) that the start-up shows. One trial at a time; a trial's
seconds are those that 6 trials take longer than 2 do, divided by 4, so that Ray's own start is in
none of them. Bare: the same training in this process.
"""

import tempfile
import time
from pathlib import Path

import ray.tune

from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import load
from qaclims_ray.corpus import stage as corpus
from qaclims_ray.ingest import stage as data
from qaclims_ray.search.holdout import write_names
from qaclims_ray.search.results import search_artifact
from qaclims_ray.search.trial import make_selection_scorer, trial_experiment
from qaclims_ray.search.tuner import run_trials
from qaclims_ray.train import stage as train
from qaclims_ray.train.loop import train_here
from qaclims_ray.train.task import TRAININGS

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"
FEW, MANY = 2, 6
SMALL = {
    "data.num_images": 8,
    "train.classifier.epochs": 1,
    "train.ritc.epochs": 1,
    "cams.scales": [1.0],
    "evaluate.thresholds": [0.1, 0.3, 0.5],
    "compute.num_cpus": 4,
    "compute.train.num_workers": 0,
    "compute.corpus.num_actors": 1,
    "tune.space": {"train.ritc.loss.area": {"log_uniform": [0.01, 1]}},
    "compute.tune.max_concurrent": 1,
}
RESOURCES = {0: {"CPU": 1.0, "GPU": 0.0}, 1: {"CPU": 0.01, "GPU": 0.0}}


def seconds_per_trial(base, run, num_workers):
    """What each further trial takes."""
    taken = {}
    for number in (FEW, MANY):
        own = {"run": f"{run}/{number}", "base": [base.run], "tune.num_trials": number}
        search = base.with_overrides({**own, "compute.train.num_workers": num_workers})
        target = search_artifact(search)
        target.start({})
        write_names(search, target.uri)
        begun = time.monotonic()
        rows = run_trials(search, target, RESOURCES[num_workers])
        taken[number] = time.monotonic() - begun
        assert all(row["status"] == "complete" for row in rows)
    return (taken[MANY] - taken[FEW]) / (MANY - FEW)


def bare_seconds(base, run):
    """The training and its score, without Ray."""
    search = base.with_overrides({"run": run, "base": [base.run]})
    write_names(search, f"{run}/search")
    begun = time.monotonic()
    for number in range(FEW):
        trial = trial_experiment(search, f"{run}/{number}", {})
        rows = TRAININGS["cam_net"].rows(trial)
        train_here(trial, "cam_net", rows, make_scorer=make_selection_scorer)
    return (time.monotonic() - begun) / FEW


def main():
    with tempfile.TemporaryDirectory() as folder:
        base = load(CONFIG, {**SMALL, "run": f"{folder}/base"})
        start(base.compute)
        data.run(base)
        corpus.run(base)
        corpus.run_texts(base)
        train.run(base, "classifier")
        print(f"bare: {bare_seconds(base, f'{folder}/bare'):.1f} s")
        print(f"reused processes: {seconds_per_trial(base, f'{folder}/reused', 0):.1f} s")
        config = ray.tune.TuneConfig
        ray.tune.TuneConfig = lambda **keys: config(**{**keys, "reuse_actors": False})
        print(f"a process per trial: {seconds_per_trial(base, f'{folder}/fresh', 0):.1f} s")
        print(f"one worker of Ray Train: {seconds_per_trial(base, f'{folder}/worker', 1):.1f} s")


if __name__ == "__main__":
    main()
