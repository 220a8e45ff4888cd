"""Class activation maps of every image.

Reads `images` and `cam_net` (or `classifier`); writes `cams` (or `baseline_cams`).
"""

from functools import partial
from typing import Any

import pyarrow as pa

from qaclims_ray.artifacts import Artifact, Built, artifact, class_names, make
from qaclims_ray.attempts import Attempt
from qaclims_ray.cams.predict import load_net, predict_cams
from qaclims_ray.compute import start
from qaclims_ray.config import Experiment
from qaclims_ray.data.stage import map_rows, publish_all
from qaclims_ray.sections import Cams


class CamPredictor:
    """Ray Data actor: one CAM network on one device; image rows in, CAM rows out."""

    def __init__(
        self,
        model: str,
        backbone: str,
        num_classes: int,
        cams: dict[str, Any],
        max_pixels: int,
        target: Artifact,
        max_errors: int,
    ) -> None:
        self._attempt = Attempt(target, max_errors)
        self._predict = partial(
            predict_cams,
            net=load_net(model, backbone, num_classes),
            num_classes=num_classes,
            cams=Cams.model_validate(cams),
            max_pixels=max_pixels,
        )

    def __call__(self, images: pa.Table) -> pa.Table:
        """CAMs of a batch of images."""
        return self._attempt(images.to_pylist(), self._predict)


def run(experiment: Experiment, *, baseline: bool = False, overwrite: bool = False) -> str:
    """Write the artifact `cams`, or `baseline_cams` of the classifier; return its summary line."""
    name, network = ("baseline_cams", "classifier") if baseline else ("cams", "cam_net")
    return make(experiment, name, partial(_predict, experiment, network), overwrite)


def run_both(experiment: Experiment, *, overwrite: bool = False) -> str:
    """CAMs of the baseline, then of QA-CLIMS; return both summary lines."""
    lines = [run(experiment, baseline=one, overwrite=overwrite) for one in (True, False)]
    return "\n".join(lines)


def _predict(experiment: Experiment, network: str, target: Artifact) -> Built:
    images, net = artifact(experiment, "images"), artifact(experiment, network)
    num_images = images.require()["rows"]
    net.require()
    start(experiment.compute)
    map_rows(
        images.shards(),
        ["name", "image", "labels"],
        target,
        CamPredictor,
        {
            "model": f"{net.uri}/model.safetensors",
            "backbone": experiment.model.backbone,
            "num_classes": len(class_names(images)),
            "cams": experiment.cams.model_dump(),
            "max_pixels": experiment.data.max_pixels,
            "target": target,
            "max_errors": experiment.data.max_errors,
        },
        experiment.compute.cams,
        "compute.cams",
        expected=num_images,
    )
    rows, errors = publish_all(experiment, target, num_images)
    return Built(rows, errors, {})
