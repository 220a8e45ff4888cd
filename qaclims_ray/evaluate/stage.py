"""Scores of CAMs, or of label maps from anywhere, against the ground truth.

Reads `images` and `cams` (or `baseline_cams`); writes `scores` (or `baseline_scores`).
"""

import hashlib
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, cast

import pyarrow as pa

from qaclims_ray.cluster.maps import actor_pool, map_actor, publish_all, read_rows
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.rows import Tallies, score_cams, score_label_map, unpack
from qaclims_ray.evaluate.score import SCORES, Scores, report_label_maps, report_scores
from qaclims_ray.evaluate.text import text_table
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.faults import Attempt
from qaclims_ray.run.images import check_there, class_names, names_in, names_to_score
from qaclims_ray.run.tables import look_up, read_table
from qaclims_ray.storage.files import read_json, write_json
from qaclims_ray.storage.paths import absolute
from qaclims_ray.types import SCHEMAS, CamRow, ScoreRow

_LABELS = {"baseline_scores": "baseline CAM", "scores": "QA-CLIMS"}
_NAMES_SHOWN = 5


class Scorer:
    """Ray Data actor: CAM rows in, their counts out."""

    def __init__(
        self,
        images: Artifact,
        names: Collection[str],
        thresholds: Sequence[float],
        num_classes: int,
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._attempt = Attempt(target, max_errors)
        self._images = images
        self._names = frozenset(names)
        self._score = partial(score_cams, thresholds=thresholds, num_classes=num_classes)

    def __call__(self, cams: pa.Table) -> pa.Table:
        """Counts of a batch of CAMs."""
        wanted = self._names.intersection(cams["name"].to_pylist())
        found = look_up(self._images, sorted(wanted), ["name", "mask"]).to_pylist()
        masks: dict[str, bytes] = {row["name"]: row["mask"] for row in found}

        def score(rows: Sequence[CamRow]) -> list[ScoreRow]:
            return self._score(rows, masks)

        return self._attempt(cams.to_pylist(), score)


class LabelMapScorer:
    """Ray Data actor: names with ground truth in, counts of the label maps of these names out."""

    def __init__(self, folder: str, names: Collection[str], num_classes: int) -> None:
        self._folder = folder
        self._names = frozenset(names)
        self._num_classes = num_classes

    def __call__(self, images: pa.Table) -> pa.Table:
        """Counts of a batch; images that are not to be scored are left out."""
        rows = [
            score_label_map(self._folder, row["name"], row["mask"], self._num_classes)
            for row in images.to_pylist()
            if row["name"] in self._names
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMAS["scores"])


def run(experiment: Experiment, *, baseline: bool = False, overwrite: bool = False) -> str:
    """Write `scores` (or `baseline_scores`); return the summary line.

    Raises:
        ValueError: names of images, CAMs and `evaluate.names` don't match; CAMs are missing.
    """
    prefix = "baseline_" if baseline else ""
    build = partial(_score, experiment, f"{prefix}cams")
    return summary(experiment, make(experiment, f"{prefix}scores", build, overwrite), baseline)


def run_label_maps(experiment: Experiment, folder: str) -> str:
    """Score the label maps `<name>.png` in a folder or at a URL; return the table and where it is.

    They may be pseudo masks or predictions of any method. What is found goes to
    `mask_scores/` in the run; it is no artifact, as nobody knows when the files change.

    Raises:
        ValueError: a label map is missing, or no fit for its ground truth.
    """
    images = artifact(experiment, "images")
    folder, names, classes = (
        absolute(folder),
        names_to_score(experiment, of_cams=False),
        class_names(images),
    )
    check_there(names, names_in(folder), f"{folder} lacks label maps (NAME.png)", "make them")
    start(experiment.compute)
    rows = read_rows(images.shards()).select_columns(["name", "mask"])
    arguments = {"folder": folder, "names": names, "num_classes": len(classes)}
    pool = actor_pool(experiment.compute.evaluate, "compute.evaluate")
    rows = rows.map_batches(LabelMapScorer, fn_constructor_kwargs=arguments, **pool)
    found = cast(list[ScoreRow], sorted(rows.iter_rows(), key=lambda row: row["name"]))
    tallies = [one for row in found if (one := unpack(row)) is not None]
    scores = report_label_maps(tallies, experiment, classes, scored=folder)
    digest = hashlib.sha256(folder.encode()).hexdigest()[:8]
    label = folder.rsplit("/", 1)[-1]
    uri = f"{absolute(experiment.run)}/mask_scores/{label}-{digest}.json"
    write_json(uri, scores)
    return f"{text_table({label: scores})}\n\nlabel maps: {len(tallies):,} rows · {uri}"


def has_truth(experiment: Experiment) -> bool:
    """Whether any image of the run has ground truth to score with."""
    return artifact(experiment, "images").require()["facts"]["num_masks"] > 0


def finish(
    experiment: Experiment, target: Artifact, num_rows: int, num_scored: int, *, scored: str
) -> Built:
    """Publish the counts of all images and the scores that follow from them.

    Args:
        experiment: The run.
        target: `scores` or `baseline_scores` under way.
        num_rows: Images that were gone through.
        num_scored: Those of them that have ground truth and were to be scored.
        scored: What the counts are of, such as `cams`.

    Raises:
        ValueError: an image could not be scored: a score is of all images or none.
    """
    _, num_errors = publish_all(experiment, target, num_rows)
    tallies = Tallies(target)
    names = class_names(artifact(experiment, "images"))
    if num_errors:
        raise ValueError(
            f"{num_errors} images could not be scored, see {target.uri}/_errors: mend them and run "
            "the same command, or list the images to score in evaluate.names"
        )
    result = report_scores(tallies, experiment, names, scored=scored)
    if result["num_images"] != num_scored:
        raise ValueError(
            f"{target.uri}: {result['num_images']} images were scored, {num_scored} are wanted: "
            "evaluate.names changed while the work was under way; pass --overwrite"
        )
    write_json(f"{target.uri}/{SCORES}", result)
    facts = {
        "miou": result["best"]["miou"],
        "num_without_truth": num_rows - num_scored,
        "num_unreadable": result["settings"]["unreadable"],
    }
    return Built(num_scored, 0, facts)


def summary(experiment: Experiment, line: str, baseline: bool) -> str:
    """A summary line, with the numbers of images that no score counts."""
    facts = artifact(experiment, "baseline_scores" if baseline else "scores").require()["facts"]
    why = "without ground truth" if experiment.evaluate.names is None else "not scored"
    left_out = {why: "num_without_truth", "that could not be read": "num_unreadable"}
    numbers = {why: facts.get(fact, 0) for why, fact in left_out.items()}
    return " · ".join(
        [line, *(f"{number:,} images {why}" for why, number in numbers.items() if number)]
    )


def table(experiment: Experiment) -> str:
    """The scores of a run as text: baseline and QA-CLIMS, where they are complete."""
    found = {label: _stored(experiment, name) for name, label in _LABELS.items()}
    there = {label: scores for label, scores in found.items() if scores is not None}
    if not there:
        return "no scores: the images have no ground truth, or evaluate.py has not run"
    return text_table(there)


def _stored(experiment: Experiment, name: str) -> Scores | None:
    return read_json(f"{artifact(experiment, name).uri}/{SCORES}")


def _score(experiment: Experiment, cams_name: str, target: Artifact) -> Built:
    images, cams = artifact(experiment, "images"), artifact(experiment, cams_name)
    num_cams = cams.require()["rows"]
    names = names_to_score(experiment)
    _check_cams(names, images, cams)
    start(experiment.compute)
    arguments: dict[str, Any] = {
        "images": images,
        "names": names,
        "thresholds": experiment.evaluate.thresholds,
        "num_classes": len(class_names(images)),
        "target": target,
        "max_errors": experiment.data.max_errors,
    }
    map_actor(
        cams.shards(),
        SCHEMAS[cams_name].names,
        target,
        Scorer,
        arguments,
        experiment.compute.evaluate,
        "compute.evaluate",
        expected=num_cams,
    )
    return finish(experiment, target, num_cams, len(names), scored=cams_name)


def _check_cams(names: Collection[str], images: Artifact, cams: Artifact) -> None:
    there: list[str] = read_table(cams, ["name"])["name"].to_pylist()
    known = read_table(images, ["name"])["name"].to_pylist()
    remedy = "make the CAMs of these images anew (make_cams.py --overwrite)"
    check_there(there, known, f"{images.uri} lacks images of {cams.uri}", remedy)
    remedy += ", or list the images to score in evaluate.names"
    check_there(names, there, f"{cams.uri} lacks images with ground truth", remedy)
