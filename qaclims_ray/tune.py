"""Many trainings of one experiment, side by side on the cluster: the variants of a study.

A trial trains in one process and scores its CAMs as it makes them; nothing but the network and
the scores is written. What trials share (images, corpus, texts, classifiers) is made once before.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import ray
from tqdm import tqdm

from qaclims_ray.artifacts import artifact
from qaclims_ray.compute import start
from qaclims_ray.config import Experiment
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.data import stage as data_stage
from qaclims_ray.evaluate.score import SCORES, Scores
from qaclims_ray.storage import read_json, write_bytes, write_json
from qaclims_ray.stream import stage as stream_stage
from qaclims_ray.study import (
    Row,
    Study,
    Trial,
    choose_threshold,
    markdown,
    split_experiment,
    trials,
)
from qaclims_ray.train import stage as train_stage
from qaclims_ray.validate import validation

Split = Literal["tuning", "reporting"]
Network = Literal["classifier", "cam_net"]


def run_study(study: Study) -> str:
    """Run all trials that are not complete yet, write `table.md` and return it.

    Each variant's threshold is chosen on the tuning split and reported on the other.
    """
    tuning, reporting = _run_split(study, "tuning"), _run_split(study, "reporting")
    rows = [_row(one.title, tuning[name], reporting[name]) for name, one in study.variants.items()]
    table = markdown(rows)
    write_bytes(f"{study.run}/table.md", f"{table}\n".encode())
    write_json(f"{study.run}/table.json", [row._asdict() for row in rows])
    return f"{table}\n\n{len(rows)} variants · {study.run}/table.md"


def _row(title: str, tuning: Sequence[Scores], reporting: Sequence[Scores]) -> Row:
    thresholds = tuning[0]["thresholds"]
    threshold = choose_threshold(thresholds, [scores["miou"] for scores in tuning])
    index = thresholds.index(threshold)
    return Row(
        title,
        threshold,
        [scores["miou"][index] for scores in reporting],
        [max(scores["miou"]) for scores in reporting],
    )


def _run_split(study: Study, split: Split) -> dict[str, list[Scores]]:
    base = split_experiment(study, split)
    wanted = list(trials(study, split))
    start(base.compute)
    _prepare(study, split, base, wanted)
    seeds = sorted({trial.seed for trial in wanted})
    classifiers = [
        base.with_overrides(
            {
                "run": f"{study.run}/{split}/classifiers/seed-{seed}",
                "base": [base.run],
                "train.seed": seed,
            }
        )
        for seed in seeds
    ]
    _together(
        f"{split}: classifiers", _train_and_score, [(one, "classifier") for one in classifiers]
    )
    _together(
        f"{split}: trials",
        _train_and_score,
        [(trial.experiment, trial.network) for trial in wanted],
    )
    found: dict[str, list[Scores]] = {}
    for trial in wanted:
        scored = artifact(trial.experiment, _scores_name(trial.network))
        found.setdefault(trial.variant, []).append(read_json(f"{scored.uri}/{SCORES}"))
    return found


def _prepare(study: Study, split: Split, base: Experiment, wanted: Iterable[Trial]) -> None:
    """Make what trials share: images, corpus, and the texts of each variant."""
    data_stage.run(base)
    corpus_stage.run(base)
    corpus_stage.run_texts(base)
    for trial in {trial.variant: trial for trial in wanted}.values():
        if trial.network == "cam_net":
            folder = {"run": f"{study.run}/{split}/{trial.variant}", "base": [base.run]}
            shared = trial.experiment.with_overrides(folder)
            corpus_stage.run(shared)
            corpus_stage.run_texts(shared)


def _together(
    label: str,
    work: Callable[[dict[str, Any], Network], str],
    arguments: Sequence[tuple[Experiment, Network]],
) -> None:
    """Run trainings as Ray tasks, as many at a time as the cluster has room for."""
    arguments = [
        (one, network)
        for one, network in arguments
        if not artifact(one, _scores_name(network)).is_complete()
    ]
    if not arguments:
        return
    workers = arguments[0][0].compute.train
    remote = ray.remote(work).options(
        num_cpus=workers.num_cpus, num_gpus=1 if workers.use_gpu else 0, max_retries=1
    )
    waiting = [
        remote.remote(experiment.anchored().plain(), network) for experiment, network in arguments
    ]
    with tqdm(total=len(waiting), desc=label, unit="trial", leave=False) as bar:
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)
            bar.update(len(done))


def _train_and_score(plain: dict[str, Any], network: Network) -> str:
    """Train a network in this process and score its CAMs."""
    experiment = Experiment.model_validate(plain)
    train_stage.run(experiment, "classifier", validate=validation)
    train_stage.run(experiment, network, validate=validation)
    return stream_stage.run_here(experiment, baseline=network == "classifier")


def _scores_name(network: Network) -> str:
    return "baseline_scores" if network == "classifier" else "scores"
