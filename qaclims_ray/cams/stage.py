"""Class activation maps (CAMs) of every image.

Reads `images` and a network (`cam_net` or `classifier`), or with `cams.kind: clip` the texts of
each image (`pairs`) and their features (`cam_texts`); writes `cams` or `baseline_cams`.
CLIP CAMs that RITC learns beside its texts are `clip_cams`.
"""

from functools import partial

import pyarrow as pa

from qaclims_ray.cams.predict import fallback_facts, load_predict, with_fallbacks
from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.blocks import reopen
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import inputs_of
from qaclims_ray.run.images import labelled

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
    return with_fallbacks(experiment, name, line)


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
        CamMaker,
        {"experiment": experiment.anchored(), "target": target},
        shards=images.shards(),
        columns=_COLUMNS,
        expected=num_images,
        whole_blocks=True,
    )
    rows, errors = publish_all(experiment, target, num_images)
    return Built(rows, errors, fallback_facts(experiment, target.name))
