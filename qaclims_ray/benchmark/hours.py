"""From measured rates to hours for the data sets of the paper."""

from collections.abc import Callable
from typing import NamedTuple

from qaclims_ray.benchmark.measure import Timing
from qaclims_ray.benchmark.sizes import PAIRS_PER_IMAGE
from qaclims_ray.config.corpus import Questions
from qaclims_ray.config.train import Classifier, Irn, Ritc, Segmenter
from qaclims_ray.ingest import coco14, voc12


class DataSet(NamedTuple):
    """What the hours depend on."""

    name: str
    num_images: int
    num_pairs: int
    """(image, class) pairs."""
    num_pixels: int
    """Pixels of a typical image."""
    num_val_images: int
    """Images that the segmenter predicts."""


_VOC_IMAGES, _VOC_PAIRS = voc12.EXPECTED_COUNTS["train_aug"]
_COCO_IMAGES, _ = coco14.EXPECTED_COUNTS["train"]
_VOC_VAL, _COCO_VAL = voc12.EXPECTED_COUNTS["val"][0], coco14.EXPECTED_COUNTS["val"][0]
assert _VOC_PAIRS is not None

VOC = DataSet("VOC train_aug", _VOC_IMAGES, _VOC_PAIRS, 375 * 500, _VOC_VAL)
COCO = DataSet("COCO 2014 train", _COCO_IMAGES, round(2.9 * _COCO_IMAGES), 480 * 640, _COCO_VAL)
"""No number of pairs is published: 2.9 labels an image, about."""
DATA_SETS = (VOC, COCO)

UNITS: dict[str, Callable[[DataSet], float]] = {
    "VQA": lambda data: Questions().num_templates * data.num_pairs,
    # CLIP looks at pairs: a batch that shows more of them counts as a larger one.
    "RITC training": lambda data: Ritc().epochs * data.num_pairs / PAIRS_PER_IMAGE,
    "classifier training": lambda data: Classifier().epochs * data.num_images,
    "CAMs": lambda data: data.num_images,
    "seeds": lambda data: data.num_images,
    "boundary training": lambda data: Irn().epochs * data.num_images,
    "boundaries": lambda data: data.num_images,
    "random walk": lambda data: data.num_images,
    "segmenter training": lambda data: Segmenter().epochs * data.num_images,
    "prediction": lambda data: data.num_val_images,
    "CLIP CAMs": lambda data: data.num_images,
}
"""How many units each part has to do: answers, masks or images (epochs counted)."""
INSTEAD = ("CLIP CAMs",)
"""Parts that no sum of hours holds: they stand in for others (`cams.kind: clip`)."""


def hours(part: str, timing: Timing, data: DataSet, gpus: int = 1) -> float:
    """Hours of a part for a data set on so many devices, at the median rate.

    VOC's pairs per image are assumed for VQA, which has COCO's 2.9 a little faster in truth.
    """
    median, _, _ = timing.rates
    size = (data.num_pixels / VOC.num_pixels) ** timing.way.growth
    return UNITS[part](data) * size / median / 3600 / gpus
