"""A study: variants of one experiment, compared over seeds (`configs/demo_ablation.yaml`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from qaclims_ray.cluster.session import capacity, start
from qaclims_ray.cluster.tasks import together
from qaclims_ray.cluster.training import worker_resources
from qaclims_ray.config.base import Section
from qaclims_ray.config.experiment import Experiment, load, read_yaml
from qaclims_ray.config.overrides import validate, with_overrides
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.evaluate import stream as stream_stage
from qaclims_ray.evaluate.score import SCORES, Scores
from qaclims_ray.ingest import stage as data_stage
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.lease import acting_for, owning
from qaclims_ray.storage.files import read_json, write_bytes, write_json
from qaclims_ray.train import stage as train_stage


class Variant(Section):
    """One row of the table."""

    title: str
    network: Literal["classifier", "cam_net"] = "cam_net"
    """Whose CAMs are scored."""
    overrides: dict[str, Any] = {}
    """Dotted keys that part it from the base experiment."""


class Study(Section):
    """Variants, tuned on one split and reported on another."""

    config: str
    """File of the base experiment, relative to the study's own."""
    run: str
    """Folder or URL of all runs of the study."""
    overrides: dict[str, Any] = {}
    """Dotted keys for all variants."""
    tuning: dict[str, Any]
    """Dotted keys of the split whose ground truth chooses each variant's threshold."""
    tuning_seeds: tuple[int, ...] = (0,)
    reporting: dict[str, Any]
    """Dotted keys of the split that is reported."""
    reporting_seeds: tuple[int, ...] = (0, 1, 2)
    variants: dict[str, Variant]
    """By the name of their folder."""


class Trial(NamedTuple):
    """One training and its score."""

    variant: str
    seed: int
    network: Literal["classifier", "cam_net"]
    experiment: Experiment


class Row(NamedTuple):
    """What the table says of a variant; shares in [0, 1]."""

    title: str
    threshold: float
    """Chosen on the tuning split."""
    miou: list[float]
    """At that threshold on the reporting split, one for each seed."""
    best: list[float]
    """At the threshold that is best on the reporting split itself: an upper bound."""


def load_study(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read a study; overrides are of the study's own keys, such as `run`.

    Raises:
        ValueError: as `config.load`.
    """
    study = validate(Study, with_overrides(read_yaml(path), overrides or {}), str(path))
    return study.model_copy(update={"config": str(Path(path).parent / study.config)})


def split_experiment(study: Study, split: Literal["tuning", "reporting"]) -> Experiment:
    """The base experiment on one split; its run holds what all variants share."""
    shared = {"run": f"{study.run}/{split}/shared", "compute.train.num_workers": 0}
    return load(study.config, {**study.overrides, **getattr(study, split), **shared})


def trials(study: Study, split: Literal["tuning", "reporting"]) -> Iterator[Trial]:
    """All trials on one split. A variant's texts are shared by its seeds."""
    base = split_experiment(study, split)
    for name, variant in study.variants.items():
        for seed in getattr(study, f"{split}_seeds"):
            folder = f"{study.run}/{split}"
            runs = {
                "run": f"{folder}/{name}/seed-{seed}",
                "base": [f"{folder}/{name}", f"{folder}/classifiers/seed-{seed}", base.run],
                "train.seed": seed,
            }
            yield Trial(
                name, seed, variant.network, base.with_overrides({**variant.overrides, **runs})
            )


def choose_threshold(thresholds: Sequence[float], curves: Sequence[Sequence[float]]) -> float:
    """The threshold whose mIoU, averaged over seeds, is highest; the first of equal ones."""
    return thresholds[int(np.argmax(np.mean(curves, axis=0)))]


def markdown(rows: Sequence[Row]) -> str:
    """The table: mean and standard deviation over seeds, in percent."""
    lines = [
        "| variant | mIoU | spread | threshold | best-threshold mIoU |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        mean, spread = 100 * np.mean(row.miou), 100 * np.std(row.miou, ddof=len(row.miou) > 1)
        best = 100 * np.mean(row.best)
        lines.append(
            f"| {row.title} | {mean:.1f} | ±{spread:.1f} | {row.threshold:.2f} | {best:.1f} |"
        )
    return "\n".join(lines)


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
    capacity(base.compute).require(1, each, "compute.train.num_cpus, .num_gpus or .use_gpu")
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
        train_stage.run(experiment, "classifier")
        train_stage.run(experiment, network)
        stream_stage.run_here(experiment, _scores_name(network))


def _scores_name(network: Network) -> str:
    return "baseline_scores" if network == "classifier" else "scores"
