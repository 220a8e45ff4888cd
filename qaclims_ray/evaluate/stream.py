"""Scores without CAMs on disk: each is scored as it is made (`evaluate.stream: true`).

Reads `images` and what CAMs are made with; writes `scores` or `baseline_scores`, with the same
numbers as the stages `cams` and `evaluate` one after the other.
"""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from qaclims_ray.cams.predict import fallback_facts, load_predict, with_fallbacks
from qaclims_ray.cluster.maps import map_actor
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate import label_maps, stage
from qaclims_ray.evaluate.rows import score_cams, unscored
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.blocks import map_here
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import ARTIFACTS, inputs_of, of_kind
from qaclims_ray.run.images import class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.scored import Scored, scored_images
from qaclims_ray.run.tables import dataset
from qaclims_ray.types import ImageRow, ScoreRow

_COLUMNS = ["name", "image", "height", "width", "labels", "mask"]


class StreamScorer:
    """Ray Data actor: a network or CLIP on one device; image rows in, counts of their CAMs out."""

    def __init__(
        self,
        experiment: Experiment,
        num_classes: int,
        scored: Scored,
        target: Artifact,
    ) -> None:
        self._predict = load_predict(experiment, stage.scored_by(target))
        self._scored = scored
        thresholds = experiment.evaluate.thresholds
        self._score = partial(score_cams, thresholds=thresholds, num_classes=num_classes)
        self._map = IsolatedMap(target, experiment.data.max_errors)

    def __call__(self, images: pa.Table) -> pa.Table:
        """Counts of a batch of images; CAMs are made of those only that are to be scored."""
        return self._map(images.to_pylist(), self._compute)

    def _compute(self, rows: Sequence[ImageRow]) -> list[ScoreRow]:
        wanted = [row for row in rows if self._scored.has(row)]
        masks = {row["name"]: mask for row in wanted if (mask := row["mask"]) is not None}
        made = {row["name"]: row for row in self._score(self._predict(wanted), masks)}
        return [made.get(row["name"]) or unscored(row["name"]) for row in rows]


def run(experiment: Experiment, name: str = "scores", *, overwrite: bool = False) -> str:
    """Write scores as `evaluate.stream` says; return the summary line.

    True: CAMs are scored as they are made. False: those of the artifact of CAMs are.

    Args:
        experiment: The run.
        name: `scores` of QA-CLIMS, or `baseline_scores`.
        overwrite: Make them anew.
    """
    scored = ARTIFACTS[name].of
    assert scored is not None
    if ARTIFACTS[scored].kind == "label_maps":
        make_scores = label_maps.build
    else:
        make_scores = build if experiment.evaluate.stream else stage.build
    line = make(experiment, name, partial(make_scores, experiment), overwrite)
    return with_fallbacks(experiment, name, stage.summary(experiment, name, line))


def run_here(experiment: Experiment, name: str = "scores") -> str:
    """Do what `run` does in this process and on its device: for a task that Ray runs already."""
    return make(experiment, name, partial(_build_here, experiment), overwrite=False)


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the scorer over the images."""
    images = artifact(experiment, "images")
    num_images = images.require()["rows"]
    scored, make_scorer = _scorer(experiment, target)
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        make_scorer,
        shards=images.shards(),
        columns=_COLUMNS,
        expected=num_images,
        pool="cams",
        whole_blocks=True,
    )
    return _finish(experiment, target, num_images, scored.num)


def _build_here(experiment: Experiment, target: Artifact) -> Built:
    images = artifact(experiment, "images")
    scored, make_scorer = _scorer(experiment, target)
    block_rows = experiment.compute.cams.block_rows
    batches = dataset(images).to_batches(columns=_COLUMNS, batch_size=block_rows)
    tables = (pa.Table.from_batches([batch]) for batch in batches)
    map_here(tables, target, make_scorer)
    num_images = images.require()["rows"]
    return _finish(experiment, target, num_images, scored.num)


def _finish(experiment: Experiment, target: Artifact, num_rows: int, num_scored: int) -> Built:
    """Publish counts and scores; what the stage `cams` would have counted is counted here."""
    built = stage.finish(experiment, target, num_rows, num_scored)
    counted = fallback_facts(experiment, stage.scored_by(target))
    return built._replace(facts={**built.facts, **counted})


def _scorer(experiment: Experiment, target: Artifact) -> tuple[Scored, partial[StreamScorer]]:
    """Find the images that are scored, and what makes the actor that scores them."""
    for one in inputs_of(experiment, target.name):
        if one not in of_kind("cams"):
            artifact(experiment, one).require()
    scored = scored_images(experiment)
    num_classes = len(class_names(artifact(experiment, "images")))
    return scored, partial(
        StreamScorer,
        experiment=experiment.anchored(),
        num_classes=num_classes,
        scored=scored,
        target=target,
    )
