"""Class activation maps (CAMs) of every image.

Reads `images` and a network (`cam_net` or `classifier`); writes `cams` or `baseline_cams`.
"""

from functools import partial

import pyarrow as pa

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.predictor import CamPredictor, load_cam_net
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.blocks import reopen
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.run.images import class_names, labelled

_COLUMNS = ("name", "image", "height", "width", "labels")


class CamMaker:
    """Ray Data actor: one CAM network on one device; image rows in, CAM rows out."""

    def __init__(
        self, experiment: Experiment, model: str, num_classes: int, target: Artifact
    ) -> None:
        net = load_cam_net(model, experiment.model.backbone, num_classes)
        max_images = experiment.compute.cams.batch_size
        predictor = CamPredictor(net, **experiment.cams.fusion(), max_images=max_images)
        self._predict = partial(predictor.predict_rows, max_pixels=experiment.data.max_pixels)
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
    """Write the CAMs of a network and return the summary line.

    Args:
        experiment: The run.
        name: `cams` of QA-CLIMS, or `baseline_cams` of the classifier.
        overwrite: Make them anew.
        retry_errors: Where they are complete, try again the images that failed.
    """
    again = reopen if retry_errors else None
    return make(experiment, name, partial(build, experiment), overwrite, again)


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the predictor over all images whose labels are known."""
    network = ARTIFACTS[target.name].of
    assert network is not None
    images, net = artifact(experiment, "images"), artifact(experiment, network)
    num_images = images.require()["rows"]
    net.require()
    labelled(images)
    start(experiment.compute)
    arguments = {
        "experiment": experiment.anchored(),
        "model": f"{net.uri}/model.safetensors",
        "num_classes": len(class_names(images)),
        "target": target,
    }
    map_actor(
        experiment,
        target,
        CamMaker,
        arguments,
        shards=images.shards(),
        columns=_COLUMNS,
        expected=num_images,
        whole_blocks=True,
    )
    rows, errors = publish_all(experiment, target, num_images)
    return Built(rows, errors, {})
