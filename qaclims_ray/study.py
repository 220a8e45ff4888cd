"""A study: variants of one experiment, compared over seeds (`configs/demo_ablation.yaml`)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from qaclims_ray.config import Experiment, load, read_yaml
from qaclims_ray.overrides import validate, with_overrides
from qaclims_ray.sections.base import Section


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
