"""Many trainings of one experiment, side by side on the cluster: the variants of a study.

A trial trains in one process and scores its CAMs as it makes them; nothing but the network and
the scores is written. What trials share (images, corpus, texts, classifiers) is made once before.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from qaclims_ray.artifacts import artifact
from qaclims_ray.compute import capacity, start, worker_resources
from qaclims_ray.config import Experiment
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.data import stage as data_stage
from qaclims_ray.evaluate.score import SCORES, Scores
from qaclims_ray.owner import acting_for, owning
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
from qaclims_ray.tasks import together
from qaclims_ray.train import stage as train_stage
from qaclims_ray.validate import validation

Split = Literal["tuning", "reporting"]
Network = Literal["classifier", "cam_net"]
Training = tuple[Experiment, Network]


def run_study(study: Study) -> str:
    """Run all trials that are not complete yet, write `table.md` and return it.

    Each variant's threshold is chosen on the tuning split and reported on the other.

    Raises:
        ValueError: the cluster has no room for a trial; another job is at the study.
    """
    with owning(study.run):
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
    each = worker_resources(base.compute.train)
    capacity().require(1, each, "compute.train.num_cpus, .num_gpus or .use_gpu")
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
    baselines: list[Training] = [(one, "classifier") for one in classifiers]
    _train_all(study, f"{split}: classifiers", baselines, each)
    trained: list[Training] = [(trial.experiment, trial.network) for trial in wanted]
    _train_all(study, f"{split}: trials", trained, each)
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


def _train_all(
    study: Study,
    label: str,
    wanted: Iterable[Training],
    each: Mapping[str, float],
) -> None:
    """Run trainings that are not scored yet, as many at a time as the cluster has room for."""
    calls = [
        (study.run, experiment.anchored().plain(), network)
        for experiment, network in wanted
        if not artifact(experiment, _scores_name(network)).is_complete()
    ]
    together(_train_and_score, calls, each, len(calls), label)


def _train_and_score(job: str, plain: dict[str, Any], network: Network) -> None:
    """Train a network in this process and score its CAMs."""
    experiment = Experiment.model_validate(plain)
    with acting_for(job):
        train_stage.run(experiment, "classifier", validate=validation)
        train_stage.run(experiment, network, validate=validation)
        stream_stage.run_here(experiment, baseline=network == "classifier")


def _scores_name(network: Network) -> str:
    return "baseline_scores" if network == "classifier" else "scores"
