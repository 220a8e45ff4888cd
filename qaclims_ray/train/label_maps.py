"""Trainings from label maps: which images have one, and whether there is anything to learn."""

import numpy as np
import pyarrow.dataset as pads
from jaxtyping import Int

from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.decode import decode_mask
from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.graph import ARTIFACTS
from qaclims_ray.run.images import class_names
from qaclims_ray.run.tables import dataset
from qaclims_ray.train.rows import LABEL_MAP, Rows, Source, training_rows
from qaclims_ray.types import BACKGROUND, IGNORE

_BATCH = 64


def label_map_rows(experiment: Experiment, name: str) -> Rows:
    """Find the images that have a label map in an artifact.

    Raises:
        ValueError: the artifact is not complete; its maps hold only background, or only `IGNORE`.
    """
    label_maps = artifact(experiment, name)
    rows = training_rows(experiment, Source(label_maps, (LABEL_MAP,)))
    there = dataset(label_maps).filter(pads.field(LABEL_MAP).is_valid())
    check_pixels(count_pixels(there, len(class_names(rows.images))), name)
    return rows


def count_pixels(label_maps: pads.Dataset, num_classes: int) -> Int[np.ndarray, "values"]:
    """Count the pixels of background, of each class, and last of `IGNORE`.

    Raises:
        ValueError: a value is no class, such as those of another class list.
    """
    total = np.zeros(IGNORE + 1, np.int64)
    for batch in label_maps.to_batches(columns=[LABEL_MAP], batch_size=_BATCH):
        for encoded in batch[LABEL_MAP]:
            total += np.bincount(decode_mask(encoded.as_py()).ravel(), minlength=IGNORE + 1)
    illegal = np.flatnonzero(total[num_classes + 1 : IGNORE])
    if len(illegal):
        raise ValueError(
            f"label maps hold the value {illegal[0] + num_classes + 1}, and there are "
            f"{num_classes} classes: they were made with another class list; make them anew "
            "(--overwrite)"
        )
    return np.append(total[: num_classes + 1], total[IGNORE])


def check_pixels(counts: Int[np.ndarray, "values"], name: str) -> None:
    """Check that label maps have something to learn from.

    Args:
        counts: See `count_pixels`.
        name: Artifact that they are of.

    Raises:
        ValueError: there is no background, or no object; the message says which stage to look at.
    """
    shares = counts / max(1, counts.sum())
    job = ARTIFACTS[name].job
    look = f"Look at them (qaclims show --of {name}), and at the thresholds of qaclims {job}."
    if not counts[:-1].any():
        raise ValueError(
            f"{name}: no pixel is decided, all are 255, so nothing can be learnt. {look}"
        )
    if not counts[1:-1].any():
        raise ValueError(
            f"{name}: {shares[BACKGROUND]:.0%} of the pixels are background and none is an object, "
            f"so nothing can be learnt. {look}"
        )
