"""Images a second of the segmenter: its training, and its predictions with mirror images."""

from collections.abc import Mapping
from functools import partial
from itertools import cycle
from typing import Literal

import torch
from torch import Tensor

from qaclims_ray.benchmark.measure import Kind, Way, Ways
from qaclims_ray.benchmark.sizes import Sizes, random_seeds
from qaclims_ray.benchmark.training import new_step
from qaclims_ray.model.segmenter import build_segmenter
from qaclims_ray.model.segmenter_predict import predict_probabilities
from qaclims_ray.model.segmenter_training import segmentation_loss
from qaclims_ray.model.shapes import Images
from qaclims_ray.train.batches import Batch


def training_ways(device: torch.device, sizes: Sizes) -> Ways:
    """The segmenter, which is trained alike in both; on GPUs also in bfloat16."""
    net = build_segmenter(sizes.segmenter, sizes.num_classes + 1, weights=None).to(device)
    count, side = sizes.segmenter_images, sizes.crop
    rows = torch.arange(count)
    images = torch.randn(count, 3, side, side, device=device)
    masks = random_seeds(count, (side, side), sizes.num_classes).to(device)
    batch = Batch([str(row) for row in rows.tolist()], images, masks, rows, rows)

    def way(kind: Kind, precision: Literal["float32", "bfloat16"]) -> Ways:
        step = new_step(net, _loss, precision=precision)
        shape = f"{count} images of {side} x {side}"
        return {Way(kind, "the same in both", precision, shape, count): partial(step, batch)}

    ways = way("both", "float32")
    return ways if device.type == "cpu" else {**ways, **way("option", "bfloat16")}


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
