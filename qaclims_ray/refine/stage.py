"""Seeds and pseudo masks of every image whose labels are known.

Reads `images` and `cams`, and for masks by the random walk the network `irn`; writes `seeds` or
`masks`.
"""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import torch

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.label_maps import check_num_classes, label_map_row, unlabelled_row
from qaclims_ray.model.checkpoints import load_network
from qaclims_ray.model.crf import check_crf_build
from qaclims_ray.model.irn import Irn, build_irn
from qaclims_ray.refine.labelling import mask_labeller, picture, seed_labeller
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.blocks import reopen
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import inputs_of
from qaclims_ray.run.images import class_names, labelled
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.run.tables import NameIndex
from qaclims_ray.types import SCHEMAS, CamRow, ImageRow, LabelMapRow

_COLUMNS = ("name", "image", "labels")


class Labeller:
    """Ray Data actor: CAM rows in, rows with label maps out."""

    def __init__(self, experiment: Experiment, target: Artifact) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        refine = experiment.refine
        if target.name == "seeds":
            self._label = seed_labeller(refine.seeds, device)
        else:
            net = load_irn(experiment, device) if refine.masks.kind == "irn" else None
            self._label = mask_labeller(refine.masks, net, device)
        self._images = NameIndex(artifact(experiment, "images"))
        self._max_pixels = experiment.data.max_pixels
        self._max_images = experiment.compute.refine.batch_size
        self._map = IsolatedMap(target, experiment.data.max_errors)

    def __call__(self, cams: pa.Table) -> pa.Table:
        """Label a batch of images."""
        found = self._images.look_up(cams["name"].to_pylist(), _COLUMNS).to_pylist()
        images = {row["name"]: row for row in found}
        return self._map(cams.to_pylist(), partial(self._compute, images=images))

    def _compute(self, rows: Sequence[CamRow], images: dict[str, ImageRow]) -> list[LabelMapRow]:
        """Label images of equal size together, decoding one batch at a time."""
        known = [row for row in rows if images[row["name"]]["labels"] is not None]
        sizes = {row["name"]: (row["height"], row["width"]) for row in rows}
        made: dict[str, LabelMapRow] = {}
        encoded = {name: row["image"] for name, row in images.items()}
        limits = {"max_pixels": self._max_pixels, "max_images": self._max_images}
        for names, pictured in picture(known, encoded, **limits):
            for name, label_map in zip(names, self._label(pictured), strict=True):
                made[name] = label_map_row(name, label_map, sizes[name])
        return [
            made.get(row["name"]) or unlabelled_row(row["name"], row["height"], row["width"])
            for row in rows
        ]


def load_irn(experiment: Experiment, device: str) -> Irn:
    """Load the trained boundary network of a run, in evaluation mode."""
    net = build_irn(experiment.train.irn.backbone or experiment.model.backbone)
    load_network(net, f"{artifact(experiment, 'irn').uri}/model.safetensors")
    return net.to(device).eval()


def run(
    experiment: Experiment,
    name: str = "seeds",
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write `seeds` or `masks` and return the summary line.

    Args:
        experiment: The run.
        name: Which.
        overwrite: Make them anew.
        retry_errors: Where they are complete, try again the images that failed.

    Raises:
        ValueError: label maps cannot hold so many classes; the CRF is wanted, and missing or wrong.
    """
    again = reopen if retry_errors else None
    return make(experiment, name, partial(build, experiment), overwrite, again)


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the labeller over the CAMs of all images."""
    inputs = {name: artifact(experiment, name) for name in inputs_of(experiment, target.name)}
    for one in inputs.values():
        one.require()
    images, cams = inputs["images"], inputs["cams"]
    check_num_classes(len(class_names(images)))
    if target.name == "seeds" and experiment.refine.seeds.kind == "crf":
        check_crf_build()
    labelled(images)
    num_cams = cams.require()["rows"]
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        partial(Labeller, experiment=experiment.anchored(), target=target),
        shards=cams.shards(),
        columns=SCHEMAS["cams"].names,
        expected=num_cams,
        whole_blocks=True,
    )
    rows, errors = publish_all(experiment, target, num_cams)
    return Built(rows, errors, {})
