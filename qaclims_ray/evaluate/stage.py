"""Scores of CAMs, or of label maps from anywhere, against the ground truth.

Reads `images` and `cams` or `baseline_cams`; writes `scores` or `baseline_scores`.
"""

import logging
from functools import partial

import pyarrow as pa

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate.rows import Tallies, score_cams
from qaclims_ray.evaluate.score import SCORES, read_scores, report_label_maps, report_scores
from qaclims_ray.evaluate.text import statement, text_table
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.collapse import flat_scores
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import ARTIFACTS, images_of, of_kind, title_of
from qaclims_ray.run.images import check_sorted, class_names
from qaclims_ray.run.lineage import states
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built, Facts
from qaclims_ray.run.scored import Masks, Scored, scored_images
from qaclims_ray.run.tables import names_of
from qaclims_ray.storage.files import write_json
from qaclims_ray.types import SCHEMAS

log = logging.getLogger(__name__)

_NAMES_SHOWN = 5


class Scorer:
    """Ray Data actor: CAM rows in, their counts out."""

    def __init__(
        self, experiment: Experiment, scored: Scored, num_classes: int, target: Artifact
    ) -> None:
        self._map = IsolatedMap(target, experiment.data.max_errors)
        self._masks = Masks(scored)
        thresholds = experiment.evaluate.thresholds
        self._score = partial(score_cams, thresholds=thresholds, num_classes=num_classes)

    def __call__(self, cams: pa.Table) -> pa.Table:
        """Counts of a batch of CAMs."""
        masks = self._masks.of(cams["name"].to_pylist())
        return self._map(cams.to_pylist(), partial(self._score, masks=masks))


def run(experiment: Experiment, name: str = "scores", *, overwrite: bool = False) -> str:
    """Write the scores of CAMs that are complete; return the summary line.

    Args:
        experiment: The run.
        name: `scores` of QA-CLIMS, or `baseline_scores`.
        overwrite: Make them anew.

    Raises:
        ValueError: names of images, CAMs and `evaluate.names` don't match; CAMs are missing.
    """
    line = make(experiment, name, partial(build, experiment), overwrite)
    return summary(experiment, name, line)


def has_truth(experiment: Experiment, name: str) -> bool:
    """Tell whether any of the images that scores are about has ground truth."""
    return artifact(experiment, images_of(name)).fact("num_masks") > 0


def finish(experiment: Experiment, target: Artifact, num_rows: int, num_scored: int) -> Built:
    """Publish the counts of all images and the scores that follow from them.

    Args:
        experiment: The run.
        target: Scores under way.
        num_rows: Images that were gone through.
        num_scored: Those of them that have ground truth and were to be scored.

    Raises:
        ValueError: an image could not be scored: a score is of all images or none.
    """
    _, num_errors = publish_all(experiment, target, num_rows)
    tallies = Tallies(target)
    names = class_names(artifact(experiment, images_of(target.name)))
    if num_errors:
        raise ValueError(
            f"{num_errors} images could not be scored, see {target.uri}/_errors: mend them and run "
            "the same command, or list the images to score in evaluate.names"
        )
    scored = ARTIFACTS[scored_by(target)]
    if scored.kind == "label_maps":
        result = report_label_maps(tallies, experiment, names, scored=scored.name)
    else:
        result = report_scores(tallies, experiment, names, scored=scored.name)
    if result["num_images"] != num_scored:
        raise ValueError(
            f"{target.uri}: {result['num_images']} images were scored, {num_scored} are wanted: "
            "evaluate.names changed while the work was under way; pass --overwrite"
        )
    write_json(f"{target.uri}/{SCORES}", result)
    facts: Facts = {
        "miou": result["best"]["miou"],
        "num_without_truth": num_rows - num_scored,
        "num_unreadable": result["settings"]["unreadable"],
    }
    if len(result["miou"]) > 1 and len(set(result["miou"])) == 1:
        log.warning(flat_scores(experiment, target.name))
        facts["flat_scores"] = True
    return Built(num_scored, 0, facts)


def scored_by(target: Artifact) -> str:
    """Return the artifact that scores are of."""
    scored = ARTIFACTS[target.name].of
    assert scored is not None
    return scored


def summary(experiment: Experiment, name: str, line: str) -> str:
    """Add what the scores say, and the numbers of images that none counts, to a summary line."""
    facts = artifact(experiment, name).require()["facts"]
    why = "without ground truth" if experiment.evaluate.names is None else "not scored"
    numbers = {
        why: facts.get("num_without_truth", 0),
        "that could not be read": facts.get("num_unreadable", 0),
    }
    counted = (f"{number:,} images {why}" for why, number in numbers.items() if number)
    scores = read_scores(artifact(experiment, name))
    return " · ".join([line, statement(scores), *counted])


def table(experiment: Experiment) -> str:
    """Return the scores of a run as text, those that are complete and of what is there now."""
    found = states(experiment)
    there = {
        title_of(experiment, name): read_scores(artifact(experiment, name))
        for name in of_kind("scores")
        if found.get(name, "").startswith("complete")
    }
    if not there:
        return "no scores: the images have no ground truth, or `qaclims evaluate` has not run"
    return text_table(there)


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the scorer over the CAMs."""
    images, cams = artifact(experiment, "images"), artifact(experiment, scored_by(target))
    num_cams = cams.require()["rows"]
    scored = scored_images(experiment)
    _check_cams(scored, cams)
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        partial(
            Scorer,
            experiment=experiment,
            scored=scored,
            num_classes=len(class_names(images)),
            target=target,
        ),
        shards=cams.shards(),
        columns=SCHEMAS["cams"].names,
        expected=num_cams,
    )
    return finish(experiment, target, num_cams, scored.num)


def _check_cams(scored: Scored, cams: Artifact) -> None:
    remedy, images = "make the CAMs of these images anew (qaclims cams --overwrite)", scored.images
    lacks = f"{images.uri} lacks images of {cams.uri}"
    check_sorted(names_of(cams), names_of(images), lacks, remedy)
    remedy += ", or list the images to score in evaluate.names"
    lacks = f"{cams.uri} lacks images with ground truth"
    check_sorted(scored.names(), names_of(cams), lacks, remedy)
