"""A trained segmenter as a function of images: NumPy in, NumPy out."""

from collections.abc import Sequence

import numpy as np
import torch

from qaclims_ray.config.experiment import Experiment, resolve
from qaclims_ray.config.segment import Segment
from qaclims_ray.images.transforms import NORMALISED
from qaclims_ray.model.checkpoints import load_network
from qaclims_ray.model.crf import CRF_SETTINGS, crf_probabilities
from qaclims_ray.model.par import refine_scores
from qaclims_ray.model.pixels import look_up, to_device
from qaclims_ray.model.segmenter import Segmenter, build_segmenter
from qaclims_ray.model.segmenter_predict import predict_probabilities
from qaclims_ray.run.artifact import Artifact
from qaclims_ray.types import Image, LabelMap


def load_trained(experiment: Experiment, segmenter: Artifact) -> Segmenter:
    """Load the network of a complete artifact `segmenter`, in evaluation mode."""
    names: list[str] = segmenter.fact("class_names")
    source = experiment.train.segmenter.net
    located = resolve(source) if isinstance(source, str) else source
    net = build_segmenter(located, len(names) + 1, weights=None)
    load_network(net, f"{segmenter.uri}/model.safetensors")
    return net.eval()


class SegmenterPredictor:
    """Predicts label maps with one network on one device."""

    def __init__(self, net: Segmenter, segment: Segment) -> None:
        """Wrap a network that is in evaluation mode; `segment` says how it predicts."""
        self._net = net
        self._segment = segment

    def predict(self, images: Sequence[Image]) -> list[LabelMap]:
        """Predict the label maps of images of one size; every pixel is decided."""
        device = next(self._net.parameters()).device
        levels = torch.from_numpy(NORMALISED).to(device)
        pixels = look_up(to_device(np.stack(images), device), levels)
        probabilities = predict_probabilities(
            self._net,
            pixels,
            scales=self._segment.scales,
            flip=self._segment.flip,
            window=self._segment.window,
            overlap=self._segment.overlap,
        )
        if self._segment.refine == "par":
            probabilities = refine_scores(pixels, probabilities)
        if self._segment.refine == "crf":
            return [
                crf_probabilities(image, own, CRF_SETTINGS["deeplab"]).argmax(0).astype(np.uint8)
                for image, own in zip(images, probabilities.cpu().numpy(), strict=True)
            ]
        return list(probabilities.argmax(1).byte().cpu().numpy())
