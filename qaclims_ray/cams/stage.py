"""Class activation maps of every image.

Reads `images` and `cam_net` (or `classifier`); writes `cams` (or `baseline_cams`).
"""

from functools import partial

import pyarrow as pa

from qaclims_ray.cluster.maps import map_actor, publish_all, whole_blocks
from qaclims_ray.cluster.session import start
from qaclims_ray.config.cams import Cams
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.model.predictor import CamPredictor as Predictor
from qaclims_ray.model.predictor import load_cam_net
from qaclims_ray.run.artifact import Artifact, Built, artifact, make
from qaclims_ray.run.blocks import reopen
from qaclims_ray.run.faults import Attempt
from qaclims_ray.run.images import class_names, labelled


class CamMaker:
    """Ray Data actor: one CAM network on one device; image rows in, CAM rows out."""

    def __init__(
        self,
        model: str,
        backbone: str,
        num_classes: int,
        cams: Cams,
        max_pixels: int,
        max_images: int,
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._attempt = Attempt(target, max_errors)
        net = load_cam_net(model, backbone, num_classes)
        predictor = Predictor(net, **cams.fusion(), max_images=max_images)
        self._predict = partial(predictor.predict_rows, max_pixels=max_pixels)

    def __call__(self, images: pa.Table) -> pa.Table:
        """CAMs of a batch of images."""
        return self._attempt(images.to_pylist(), self._predict)


def run(
    experiment: Experiment,
    *,
    baseline: bool = False,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write the artifact `cams`, or `baseline_cams` of the classifier; return its summary line.

    With `retry_errors`, images that failed are tried again where it is complete.
    """
    name, network = ("baseline_cams", "classifier") if baseline else ("cams", "cam_net")
    again = reopen if retry_errors else None
    return make(experiment, name, partial(_predict, experiment, network), overwrite, again)


def run_both(experiment: Experiment, *, overwrite: bool = False) -> str:
    """CAMs of the baseline, then of QA-CLIMS; return both summary lines.

    None are made where `evaluate.stream` has them scored and not kept.
    """
    if experiment.evaluate.stream:
        return "cams: none are written, as evaluate.stream is true"
    lines = [run(experiment, baseline=one, overwrite=overwrite) for one in (True, False)]
    return "\n".join(lines)


def _predict(experiment: Experiment, network: str, target: Artifact) -> Built:
    images, net = artifact(experiment, "images"), artifact(experiment, network)
    num_images = images.require()["rows"]
    net.require()
    labelled(images)
    start(experiment.compute)
    pool = experiment.compute.cams
    map_actor(
        images.shards(),
        ["name", "image", "height", "width", "labels"],
        target,
        CamMaker,
        {
            "model": f"{net.uri}/model.safetensors",
            "backbone": experiment.model.backbone,
            "num_classes": len(class_names(images)),
            "cams": experiment.cams,
            "max_pixels": experiment.data.max_pixels,
            "max_images": pool.batch_size,
            "target": target,
            "max_errors": experiment.data.max_errors,
        },
        whole_blocks(pool),
        "compute.cams",
        expected=num_images,
    )
    rows, errors = publish_all(experiment, target, num_images)
    return Built(rows, errors, {})
