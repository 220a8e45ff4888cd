"""Class activation maps (CAMs) of every image.

Reads `images` and a network (`cam_net` or `classifier`), or with `cams.kind: clip` the texts of
each image (`pairs`) and their features (`cam_texts`); writes `cams` or `baseline_cams`.
CLIP CAMs that RITC learns beside its texts are `clip_cams`.
"""

import logging
from functools import partial

import numpy as np
import pyarrow as pa

from qaclims_ray.cams.predict import fallback_facts, load_predict, with_fallbacks
from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.blocks import reopen
from qaclims_ray.run.collapse import empty_maps
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import inputs_of
from qaclims_ray.run.images import labelled
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built, Facts
from qaclims_ray.run.tables import dataset

log = logging.getLogger(__name__)

_BATCH = 64
_COLUMNS = ("name", "image", "height", "width", "labels")


class CamMaker:
    """Ray Data actor: one network or CLIP on one device; image rows in, CAM rows out."""

    def __init__(self, experiment: Experiment, target: Artifact) -> None:
        self._predict = load_predict(experiment, target.name)
        self._map = IsolatedMap(target, experiment.data.max_errors)

    def __call__(self, images: pa.Table) -> pa.Table:
        """Make the CAMs of a batch of images."""
        return self._map(images.to_pylist(), self._predict)


def run(
    experiment: Experiment,
    name: str = "cams",
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write CAMs and return the summary line.

    Args:
        experiment: The run.
        name: `cams` of QA-CLIMS or of a CLIP, `baseline_cams` of the classifier, or `clip_cams`.
        overwrite: Make them anew.
        retry_errors: Where they are complete, try again the images that failed.
    """
    again = reopen if retry_errors else None
    line = make(experiment, name, partial(build, experiment), overwrite, again)
    num_empty = artifact(experiment, name).require()["facts"].get("num_empty_maps", 0)
    empty = f" · {num_empty:,} maps are empty, 0 everywhere" if num_empty else ""
    return with_fallbacks(experiment, name, line + empty)


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the predictor over all images whose labels are known."""
    for one in inputs_of(experiment, target.name):
        artifact(experiment, one).require()
    images = artifact(experiment, "images")
    num_images = images.require()["rows"]
    labelled(images)
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        partial(CamMaker, experiment=experiment.anchored(), target=target),
        shards=images.shards(),
        columns=_COLUMNS,
        expected=num_images,
        whole_blocks=True,
    )
    rows, errors = publish_all(experiment, target, num_images)
    facts: Facts = {**fallback_facts(experiment, target.name), **count_empty(target)}
    if warning := empty_maps(experiment, target.name, facts):
        log.warning(warning)
    return Built(rows, errors, facts)


def count_empty(cams: Artifact) -> Facts:
    """Count the maps of an artifact of CAMs, and those of them that are 0 everywhere."""
    num_maps = num_empty = 0
    for batch in dataset(cams).to_batches(columns=["classes", "cam"], batch_size=_BATCH):
        for row in (row for row in batch.to_pylist() if row["classes"]):
            maps = np.frombuffer(row["cam"], np.float16).reshape(len(row["classes"]), -1)
            num_maps += len(maps)
            num_empty += int((maps.any(axis=1) == 0).sum())
    return Facts(num_maps=num_maps, num_empty_maps=num_empty)
