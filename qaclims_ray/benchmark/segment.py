"""Images a second of the segmenter: its training, and its predictions with mirror images."""

from collections.abc import Mapping
from functools import partial
from itertools import cycle

import torch
from torch import Tensor

from qaclims_ray.benchmark.measure import Way, Ways
from qaclims_ray.benchmark.sizes import Sizes
from qaclims_ray.benchmark.training import label_map_ways
from qaclims_ray.model.segmenter import build_segmenter
from qaclims_ray.model.segmenter_predict import predict_probabilities
from qaclims_ray.model.segmenter_training import segmentation_loss
from qaclims_ray.model.shapes import Images
from qaclims_ray.train.batches import Batch


def training_ways(device: torch.device, sizes: Sizes) -> Ways:
    """The segmenter, which is trained alike in both."""
    net = build_segmenter(sizes.segmenter, sizes.num_classes + 1, weights=None)
    return label_map_ways(net, _loss, sizes.segmenter_images, sizes, device)


def _loss(logits: Tensor, batch: Batch) -> Mapping[str, Tensor]:
    return segmentation_loss(logits, batch.targets, balance="halves")._asdict()


def prediction_ways(device: torch.device, sizes: Sizes) -> Ways:
    """Predict images of one size together, and one at a time as published code does."""
    net = build_segmenter(sizes.segmenter, sizes.num_classes + 1, weights=None).eval().to(device)
    height, width = sizes.image
    images = torch.randn(sizes.cam_images, 3, height, width, device=device)
    single = cycle(images.split(1))

    def predict(batch: Images) -> Tensor:
        return predict_probabilities(net, batch).argmax(1)

    count, shape = len(images), f"of {height} x {width}"
    batches = f"{count} images {shape}"
    together = Way("ours", "images in batches", "float32", batches, count, growth=1)
    alone = Way("published", "one image at a time", "float32", f"1 image {shape}", 1, growth=1)
    return {together: partial(predict, images), alone: lambda: predict(next(single))}
