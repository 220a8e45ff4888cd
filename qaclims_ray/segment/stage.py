"""Label maps of images by the trained segmenter, which needs no labels of them.

Reads `images` and `segmenter` and writes `predictions`; or `new_images`, and `new_predictions`.
"""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import torch

from qaclims_ray.cluster.maps import map_actor, publish_all
from qaclims_ray.cluster.session import start
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.decode import decode
from qaclims_ray.images.label_maps import label_map_row
from qaclims_ray.model.predictor import equal_sizes
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.blocks import reopen
from qaclims_ray.run.faults import IsolatedMap
from qaclims_ray.run.graph import data_of, images_of
from qaclims_ray.run.images import check_class_names
from qaclims_ray.run.make import make
from qaclims_ray.run.manifest import Built
from qaclims_ray.segment.predict import SegmenterPredictor, load_trained
from qaclims_ray.types import ImageRow, LabelMapRow

_COLUMNS = ("name", "image", "height", "width")


class Segmenting:
    """Ray Data actor: one segmenter on one device; image rows in, rows with label maps out."""

    def __init__(self, experiment: Experiment, segmenter: Artifact, target: Artifact) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        net = load_trained(experiment, segmenter).to(device)
        self._predictor = SegmenterPredictor(net, experiment.segment)
        data = data_of(experiment, target.name)
        self._max_pixels = data.max_pixels
        self._max_images = experiment.compute.segment.batch_size
        self._map = IsolatedMap(target, data.max_errors)

    def __call__(self, images: pa.Table) -> pa.Table:
        """Segment a batch of images."""
        return self._map(images.to_pylist(), self._compute)

    def _compute(self, rows: Sequence[ImageRow]) -> list[LabelMapRow]:
        """Segment images of equal size together, decoding one batch at a time."""
        made: dict[int, LabelMapRow] = {}
        for batch in equal_sizes([(row["height"], row["width"]) for row in rows], self._max_images):
            images = [decode(rows[i]["image"], max_pixels=self._max_pixels) for i in batch]
            for i, label_map in zip(batch, self._predictor.predict(images), strict=True):
                row = rows[i]
                made[i] = label_map_row(row["name"], label_map, (row["height"], row["width"]))
        return [made[i] for i in range(len(rows))]


def run(
    experiment: Experiment,
    name: str = "predictions",
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> str:
    """Write the predictions of the run's images, or of its new ones; return the summary line.

    Args:
        experiment: The run.
        name: `predictions` or `new_predictions`.
        overwrite: Make them anew.
        retry_errors: Where they are complete, try again the images that failed.
    """
    again = reopen if retry_errors else None
    return make(experiment, name, partial(build, experiment), overwrite, again)


def build(experiment: Experiment, target: Artifact) -> Built:
    """Map the segmenter over all images, labelled or not."""
    images = artifact(experiment, images_of(target.name))
    segmenter = artifact(experiment, "segmenter")
    num_images = images.require()["rows"]
    if images.fact("num_masks"):  # else no label of the images is used
        check_class_names(images, segmenter)
    start(experiment.compute)
    map_actor(
        experiment,
        target,
        partial(Segmenting, experiment=experiment.anchored(), segmenter=segmenter, target=target),
        shards=images.shards(),
        columns=_COLUMNS,
        expected=num_images,
        whole_blocks=True,
    )
    rows, errors = publish_all(experiment, target, num_images)
    return Built(rows, errors, {})
