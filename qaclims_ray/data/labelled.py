"""The images whose labels are known: what can be learnt from and what CAMs are made of."""

import logging

import pyarrow.dataset as pads

from qaclims_ray.artifacts import Artifact
from qaclims_ray.tables import dataset

log = logging.getLogger(__name__)

KNOWN = pads.field("labels").is_valid()
"""True for rows of `images` whose labels are known; an image without any class is one of them."""


def labelled(images: Artifact) -> pads.Dataset:
    """The rows of a complete artifact `images` whose labels are known; others are counted.

    Raises:
        ValueError: there is none.
    """
    rows = dataset(images)
    num_rows, num_known = rows.count_rows(), rows.count_rows(filter=KNOWN)
    if not num_known:
        raise ValueError(
            f"{images.uri}: no image is labelled: give the images labels (data.unlabelled: true "
            "takes them without, which is enough for the corpus only)"
        )
    if num_known < num_rows:
        log.warning("%d of %d images have no labels: left out", num_rows - num_known, num_rows)
    return rows.filter(KNOWN)
