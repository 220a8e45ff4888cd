"""Predict images that are in no run, by networks of a run, in this process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from qaclims_ray.api.names import check_name
from qaclims_ray.api.run import Maps, Picture
from qaclims_ray.cams.predict import load_predictor
from qaclims_ray.config.experiment import Experiment
from qaclims_ray.images.cams import resized_cams
from qaclims_ray.images.decode import decode
from qaclims_ray.images.transforms import NEAREST, resize, shrink
from qaclims_ray.model.predictor import equal_sizes
from qaclims_ray.run.artifact import Artifact, artifact
from qaclims_ray.run.images import class_names
from qaclims_ray.segment.predict import SegmenterPredictor, load_trained
from qaclims_ray.storage.files import read_bytes
from qaclims_ray.types import Image, LabelMap


class LabelMapPredictor:
    """Predicts label maps of images of any sizes by the segmenter of a run."""

    def __init__(self, experiment: Experiment, segmenter: Artifact) -> None:
        """Load the network, on the GPU if this process sees one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        net = load_trained(experiment, segmenter).to(device)
        self._predictor = SegmenterPredictor(net, experiment.segment)
        self._experiment = experiment

    def __call__(self, images: Sequence[Picture]) -> list[LabelMap]:
        """Predict the label map of each image, at its size."""
        pixels = [pixels_of(image, self._experiment.data.max_pixels) for image in images]
        seen = [shrink(one, self._experiment.data.max_side) for one in pixels]
        made: dict[int, LabelMap] = {}
        limit = self._experiment.compute.segment.batch_size
        for batch in equal_sizes([one.shape[:2] for one in seen], limit):
            made |= zip(batch, self._predictor.predict([seen[i] for i in batch]), strict=True)
        sizes = [one.shape[:2] for one in pixels]
        return [resize(made[i], h, w, NEAREST) for i, (h, w) in enumerate(sizes)]


def predict_cams(
    experiment: Experiment, of: str, images: Sequence[Picture], labels: Sequence[Sequence[str]]
) -> list[Maps]:
    """Predict the CAMs of images, at their sizes, by a trained network.

    Args:
        experiment: The run, whose network is complete.
        of: `cams` or `baseline_cams`.
        images: Pixels, paths or URLs.
        labels: Names of the classes that each image shows.

    Raises:
        ValueError: a label is no class, or a list of labels is missing.
    """
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} lists of labels: give as many")
    names = class_names(artifact(experiment, "images"))
    for label in {label for own in labels for label in own}:
        check_name(label, names, "class")
    indices = [sorted({names.index(label) for label in own}) for own in labels]
    pixels = [pixels_of(image, experiment.data.max_pixels) for image in images]
    seen = [shrink(one, experiment.data.max_side) for one in pixels]
    found = load_predictor(experiment, of).predict(seen, indices)
    return [
        dict(zip((names[i] for i in own), resized_cams(cams, one.shape[:2]), strict=True))
        for own, cams, one in zip(indices, found, pixels, strict=True)
    ]


def pixels_of(image: Picture, max_pixels: int) -> Image:
    """Return the pixels of an image, or of a file at a path or URL.

    Raises:
        ValueError: there is no such file, it is no image, or the array is none.
    """
    if isinstance(image, (str, Path)):
        return decode(read_bytes(str(image)), max_pixels=max_pixels)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"an image of shape {image.shape} and type {image.dtype}: give RGB pixels from 0 to "
            "255, height x width x 3, of type uint8"
        )
    return image
