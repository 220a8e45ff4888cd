"""What can be compared of runs: their configurations, and the scores that all of them have."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.config.overrides import flatten
from qaclims_ray.evaluate.rows import Tallies
from qaclims_ray.report.charts import STYLES
from qaclims_ray.report.paired import Paired, compare
from qaclims_ray.report.scores import Step, steps_of
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import of_kind
from qaclims_ray.run.images import class_names
from qaclims_ray.run.lineage import states

_ABSENT = "(absent)"
_NAMES = {"name", "run", "base"}
"""Keys that differ between any two runs."""


class Comparison(NamedTuple):
    """One step of the pipeline in all runs."""

    name: str
    """Artifact of scores."""
    title: str
    at: tuple[str, ...]
    """What the thresholds are, those of CAMs: the best one of each run, and the fixed one."""
    steps: list[Step]
    """Step of each run, in its colour and called after it."""
    paired: Paired
    num_images: list[int]
    """Images that each run has scores of."""


def labels_of(runs: Sequence[str]) -> list[str]:
    """Return short names of runs: the ends of their paths, as long as they need to be to differ."""
    paths = [PurePosixPath(run).parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        labels = ["/".join(path[-length:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise ValueError(f"the same run is named twice: {', '.join(runs)}")


def check_classes(experiments: Mapping[str, Experiment]) -> None:
    """Check that runs have the same classes, in the same order.

    Raises:
        ValueError: they have not; both lists are shown.
    """
    (first, own), *others = (
        (label, class_names(artifact(experiment, "images")))
        for label, experiment in experiments.items()
    )
    for label, classes in others:
        if classes != own:
            raise ValueError(
                f"{first} has the classes {', '.join(own)}, and {label} has {', '.join(classes)}: "
                "their scores are means over other classes. Compare runs of the same classes"
            )


def changes(experiments: Mapping[str, Experiment]) -> dict[str, list[Any]]:
    """Return the keys of the configuration that differ, and their value in each run."""
    trees = [dict(flatten(experiment.plain())) for experiment in experiments.values()]
    keys = dict.fromkeys(key for tree in trees for key in tree if key not in _NAMES)
    values = {key: [tree.get(key, _ABSENT) for tree in trees] for key in keys}
    return {key: own for key, own in values.items() if any(one != own[0] for one in own)}


def comparisons(experiments: Mapping[str, Experiment]) -> tuple[list[Comparison], list[str]]:
    """Compare the steps that all runs have scores of; say why others are left out.

    Raises:
        ValueError: there is none.
    """
    scored = [_steps(experiment) for experiment in experiments.values()]
    found: list[Comparison] = []
    left_out: list[str] = []
    for name in of_kind("scores"):
        steps = [own[name] for own in scored if name in own]
        if len(steps) == len(scored):
            one = _comparison(experiments, name, steps)
            left_out.append(one) if isinstance(one, str) else found.append(one)
        elif steps:
            lacks = [
                label for label, own in zip(experiments, scored, strict=True) if name not in own
            ]
            left_out.append(f"{name}: not complete in {', '.join(lacks)}")
    if not found:
        raise ValueError("\n  ".join(["these runs have no scores of the same images:", *left_out]))
    return found, left_out


def _steps(experiment: Experiment) -> dict[str, Step]:
    state = states(experiment)
    complete = [name for name, said in state.items() if said.startswith("complete")]
    return {step.name: step for step in steps_of(experiment, complete)}


def _comparison(
    experiments: Mapping[str, Experiment], name: str, steps: Sequence[Step]
) -> Comparison | str:
    own = list(experiments.values())
    absent = own[0].evaluate.absent_classes
    sides = [Tallies(artifact(experiment, name)).named() for experiment in own]
    num_classes = len(steps[0].scores["class_names"]) - 1
    paired = compare(sides, [_ranks(step) for step in steps], num_classes, absent)
    is_partial = any(step.scores["settings"].get("unsure") == "ignore" for step in steps)
    if paired is None:
        return f"{name}: no image of the same ground truth was scored in all runs"
    if is_partial and paired.num_other_truth:
        return f"{name}: each run counts other pixels, those that its label maps decide"
    styles = (STYLES[number % len(STYLES)] for number in range(len(own)))
    return Comparison(
        name,
        steps[0].title,
        ("best", "fixed") if steps[0].scores["thresholds"] else ("",),
        [
            Step(name, style, label, step.scores)
            for label, style, step in zip(experiments, styles, steps, strict=True)
        ],
        paired,
        [step.scores["num_images"] for step in steps],
    )


def _ranks(step: Step) -> list[int]:
    """Return the ranks of the best and of the fixed threshold; label maps have one rank."""
    thresholds = step.scores["thresholds"]
    both = [step.scores[at]["threshold"] for at in ("best", "fixed")]
    return [thresholds.index(one) for one in both] if thresholds else [0]


def notes_of(one: Comparison) -> list[str]:
    """Say which images a comparison is about, where they are not all."""
    paired, notes = one.paired, list[str]()
    if any(number != paired.num_images for number in one.num_images):
        own = zip(one.steps, one.num_images, strict=True)
        told = ", ".join(f"{step.title} has scores of {number:,}" for step, number in own)
        notes.append(f"{one.name}: {paired.num_images:,} images are compared; {told}")
    if paired.num_other_truth:
        notes.append(
            f"{one.name}: {paired.num_other_truth:,} images are left out, as their ground truth is "
            "not the same in all runs"
        )
    return notes
