"""Scores without CAMs on disk: each is scored as it is made (`evaluate.stream: true`).

Reads `images` and `cam_net` (or `classifier`); writes `scores` (or `baseline_scores`), with the
same numbers as the stages `cams` and `evaluate` one after the other.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from qaclims_ray.cluster.maps import map_actor, whole_blocks
from qaclims_ray.cluster.session import start
from qaclims_ray.config.cams import Cams
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.evaluate import stage as evaluate_stage
from qaclims_ray.evaluate.rows import score_cams, unscored
from qaclims_ray.model.predictor import CamPredictor, load_cam_net
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.blocks import map_here
from qaclims_ray.run.faults import Attempt
from qaclims_ray.run.images import class_names, names_to_score
from qaclims_ray.run.tables import dataset
from qaclims_ray.types import ImageRow, ScoreRow

_COLUMNS = ["name", "image", "height", "width", "labels", "mask"]


class StreamScorer:
    """Ray Data actor: one CAM network on one device; image rows in, counts of their CAMs out."""

    def __init__(
        self,
        model: str,
        backbone: str,
        cams: Cams,
        max_pixels: int,
        max_images: int,
        names: Collection[str],
        thresholds: Sequence[float],
        num_classes: int,
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._attempt = Attempt(target, max_errors)
        self._names = frozenset(names)
        net = load_cam_net(model, backbone, num_classes)
        predictor = CamPredictor(net, **cams.fusion(), max_images=max_images)
        self._predict = partial(predictor.predict_rows, max_pixels=max_pixels)
        self._score = partial(score_cams, thresholds=thresholds, num_classes=num_classes)

    def __call__(self, images: pa.Table) -> pa.Table:
        """Counts of a batch of images; CAMs are made of those only that are to be scored."""
        return self._attempt(images.to_pylist(), self._compute)

    def _compute(self, rows: Sequence[ImageRow]) -> list[ScoreRow]:
        wanted = [row for row in rows if row["name"] in self._names]
        masks = {row["name"]: mask for row in wanted if (mask := row["mask"]) is not None}
        made = {row["name"]: row for row in self._score(self._predict(wanted), masks)}
        return [made.get(row["name"]) or unscored(row["name"]) for row in rows]


def run(experiment: Experiment, *, baseline: bool = False, overwrite: bool = False) -> str:
    """Write `scores` (or `baseline_scores`) as `evaluate.stream` says; return the summary line.

    True: CAMs are scored as they are made. False: those of the artifact `cams` are.
    """
    if not experiment.evaluate.stream:
        return evaluate_stage.run(experiment, baseline=baseline, overwrite=overwrite)
    prefix = "baseline_" if baseline else ""
    line = make(experiment, f"{prefix}scores", partial(_score, experiment, baseline), overwrite)
    return evaluate_stage.summary(experiment, line, baseline)


def run_both(experiment: Experiment, *, overwrite: bool = False) -> str:
    """Scores of the baseline, then of QA-CLIMS; return both summary lines.

    Without any ground truth there are none, which is no error.
    """
    if not evaluate_stage.has_truth(experiment):
        return "scores: none, as no image has ground truth"
    lines = [run(experiment, baseline=one, overwrite=overwrite) for one in (True, False)]
    return "\n".join(lines)


def run_here(experiment: Experiment, *, baseline: bool = False) -> str:
    """As `run`, in this process and on its device: for a task that Ray runs already."""
    prefix = "baseline_" if baseline else ""
    return make(experiment, f"{prefix}scores", partial(_score_here, experiment, baseline), False)


def _score(experiment: Experiment, baseline: bool, target: Artifact) -> Built:
    images = artifact(experiment, "images")
    num_images = images.require()["rows"]
    arguments = _arguments(experiment, baseline, target)
    start(experiment.compute)
    map_actor(
        images.shards(),
        _COLUMNS,
        target,
        StreamScorer,
        arguments,
        whole_blocks(experiment.compute.cams),
        "compute.cams",
        expected=num_images,
    )
    scored = _scored(baseline)
    return evaluate_stage.finish(
        experiment, target, num_images, len(arguments["names"]), scored=scored
    )


def _score_here(experiment: Experiment, baseline: bool, target: Artifact) -> Built:
    images = artifact(experiment, "images")
    arguments = _arguments(experiment, baseline, target)
    block_rows = experiment.compute.cams.block_rows
    batches = dataset(images).to_batches(columns=_COLUMNS, batch_size=block_rows)
    tables = (pa.Table.from_batches([batch]) for batch in batches)
    map_here(tables, target, partial(StreamScorer, **arguments))
    num_images = images.require()["rows"]
    scored = _scored(baseline)
    return evaluate_stage.finish(
        experiment, target, num_images, len(arguments["names"]), scored=scored
    )


def _scored(baseline: bool) -> str:
    return "baseline_cams" if baseline else "cams"


def _arguments(experiment: Experiment, baseline: bool, target: Artifact) -> dict[str, Any]:
    """Of `StreamScorer`."""
    net = artifact(experiment, "classifier" if baseline else "cam_net")
    net.require()
    return {
        "model": f"{net.uri}/model.safetensors",
        "backbone": experiment.model.backbone,
        "cams": experiment.cams,
        "max_pixels": experiment.data.max_pixels,
        "max_images": experiment.compute.cams.batch_size,
        "names": names_to_score(experiment),
        "thresholds": experiment.evaluate.thresholds,
        "num_classes": len(class_names(artifact(experiment, "images"))),
        "target": target,
        "max_errors": experiment.data.max_errors,
    }
