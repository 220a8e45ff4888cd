"""A study: variants of one experiment, compared over seeds (`configs/demo_ablation.yaml`).

Each variant's threshold is selected on one split and its scores are reported on another. In a
study's file and folders the splits keep the names `tuning` and `reporting`. Complete trials are
kept: the same study goes on.

    <run>/table.md, table.json              the table
    <run>/<split>/shared/                   artifacts that all trials have in common
    <run>/<split>/images/seed-0/            the same for variants that draw images by seed
    <run>/<split>/classifiers/seed-0/       classifier of a seed
    <run>/<split>/<variant>/                texts of a variant (<variant>/texts-0/ by seed)
    <run>/<split>/<variant>/seed-0/         one trial: its network and its scores
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from qaclims_ray.cluster.session import capacity, start
from qaclims_ray.cluster.tasks import together
from qaclims_ray.cluster.training import worker_keys, worker_resources
from qaclims_ray.config.experiment import Experiment, load
from qaclims_ray.config.study import Network, Study
from qaclims_ray.corpus import stage as corpus_stage
from qaclims_ray.evaluate import stream as stream_stage
from qaclims_ray.evaluate.score import Scores, read_scores
from qaclims_ray.ingest import stage as data_stage
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.lease import lease, on_behalf_of
from qaclims_ray.storage.files import write_bytes, write_json
from qaclims_ray.train import stage as train_stage

Split = Literal["tuning", "reporting"]


class Trial(NamedTuple):
    """One training and its score."""

    variant: str
    seed: int
    network: Network
    base: Experiment
    """Its run holds what the trial shares with others."""
    experiment: Experiment

    @property
    def with_texts(self) -> Experiment:
        """The experiment whose run holds the trial's texts."""
        return self.experiment.with_overrides(
            {"run": self.experiment.base[0], "base": [self.base.run]}
        )


class Row(NamedTuple):
    """Scores of a variant on the report split, one for each seed, in [0, 1]."""

    title: str
    threshold: float
    """Threshold of the highest mean mIoU on the selection split."""
    miou: list[float]
    """mIoU at that threshold."""
    best: list[float]
    """mIoU at the threshold that is best on the report split itself: an upper bound."""


def split_experiment(study: Study, split: Split, image_seed: int | None = None) -> Experiment:
    """Load the base experiment on one split; its run holds what variants share.

    Args:
        study: The study.
        split: Whose images.
        image_seed: `data.seed`, for variants that draw images by seed; null: as configured.
    """
    shared = {"run": f"{study.run}/{split}/shared", "compute.train.num_workers": 0}
    if image_seed is not None:
        shared |= {"run": f"{study.run}/{split}/images/seed-{image_seed}", "data.seed": image_seed}
    return load(study.config, {**study.overrides, **getattr(study, split), **shared})


def trials(study: Study, split: Split) -> Iterator[Trial]:
    """Yield all trials on one split; those of one variant on the same images share its texts."""
    folder = f"{study.run}/{split}"
    for name, variant in study.variants.items():
        for seed in getattr(study, f"{split}_seeds"):
            by_images = variant.seeds == "images"
            base = split_experiment(study, split, seed if by_images else None)
            texts = f"{folder}/{name}/texts-{seed}" if by_images else f"{folder}/{name}"
            runs = {
                "run": f"{folder}/{name}/seed-{seed}",
                "base": [texts, f"{folder}/classifiers/seed-{seed}", base.run],
                "train.seed": seed,
            }
            experiment = base.with_overrides({**variant.overrides, **runs})
            yield Trial(name, seed, variant.network, base, experiment)


def choose_threshold(thresholds: Sequence[float], curves: Sequence[Sequence[float]]) -> float:
    """Choose the threshold whose mIoU, averaged over seeds, is highest; the first of equal ones."""
    return thresholds[int(np.argmax(np.mean(curves, axis=0)))]


def markdown(rows: Sequence[Row]) -> str:
    """Format the table: mean and standard deviation over seeds, in percent."""
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


def run_study(study: Study) -> str:
    """Run all trials that are not complete yet, write `table.md` and return it.

    Raises:
        ValueError: the cluster has no room for a trial; another job works at the study.
    """
    with lease(study.run):
        selection, report = _run_split(study, "tuning"), _run_split(study, "reporting")
    rows = [_row(one.title, selection[name], report[name]) for name, one in study.variants.items()]
    table = markdown(rows)
    write_bytes(f"{study.run}/table.md", f"{table}\n".encode())
    write_json(f"{study.run}/table.json", [row._asdict() for row in rows])
    return f"{table}\n\n{len(rows)} variants · {study.run}/table.md"


def _row(title: str, selection: Sequence[Scores], report: Sequence[Scores]) -> Row:
    thresholds = selection[0]["thresholds"]
    threshold = choose_threshold(thresholds, [scores["miou"] for scores in selection])
    index = thresholds.index(threshold)
    return Row(
        title,
        threshold,
        [scores["miou"][index] for scores in report],
        [max(scores["miou"]) for scores in report],
    )


def _run_split(study: Study, split: Split) -> dict[str, list[Scores]]:
    base = split_experiment(study, split)
    wanted = list(trials(study, split))
    start(base.compute)
    each = worker_resources(base.compute.train)
    capacity(base.compute).require(1, each, worker_keys())
    _prepare(wanted)
    classifiers: list[Trial] = []
    for seed in getattr(study, f"{split}_seeds"):
        run = f"{study.run}/{split}/classifiers/seed-{seed}"
        own = base.with_overrides({"run": run, "base": [base.run], "train.seed": seed})
        classifiers.append(Trial("classifiers", seed, "classifier", base, own))
    _train_all(study, f"{split}: classifiers", classifiers, each)
    _train_all(study, f"{split}: trials", wanted, each)
    found: dict[str, list[Scores]] = {}
    for trial in wanted:
        scored = artifact(trial.experiment, _scores_name(trial.network))
        found.setdefault(trial.variant, []).append(read_scores(scored))
    return found


def _prepare(wanted: Sequence[Trial]) -> None:
    """Make images, corpus, and the texts of each variant."""
    for base in {trial.base.run: trial.base for trial in wanted}.values():
        data_stage.run(base)
        corpus_stage.run(base)
        corpus_stage.run_texts(base)
    own_texts = (trial.with_texts for trial in wanted if trial.network == "cam_net")
    for experiment in {one.run: one for one in own_texts}.values():
        corpus_stage.run(experiment)
        corpus_stage.run_texts(experiment)


def _train_all(
    study: Study, label: str, wanted: Iterable[Trial], each: Mapping[str, float]
) -> None:
    """Train and score what is not scored yet, as many at a time as the cluster has room for."""
    calls = [
        (study.run, trial.experiment.anchored(), trial.network)
        for trial in wanted
        if not artifact(trial.experiment, _scores_name(trial.network)).is_complete()
    ]
    together(_train_and_score, calls, each, len(calls), label)


def _train_and_score(job: str, experiment: Experiment, network: Network) -> None:
    """Train a network in this process, unless a CLIP makes the CAMs, and score these."""
    with on_behalf_of(job):
        if network == "classifier" or experiment.cams.kind == "network":
            train_stage.run(experiment, "classifier")
            train_stage.run(experiment, network)
        stream_stage.run_here(experiment, _scores_name(network))


def _scores_name(network: Network) -> str:
    return "baseline_scores" if network == "classifier" else "scores"
