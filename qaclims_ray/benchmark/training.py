"""Images a second of the two trainings, forward, backward and optimiser step, without decoding."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qaclims_ray.benchmark.measure import Kind, Way, Ways
from qaclims_ray.benchmark.sizes import Sizes, clip_config, labels, random_seeds
from qaclims_ray.config.train import Fit, Optimiser
from qaclims_ray.model.cam_net import build_cam_net
from qaclims_ray.model.clip import MaskPromptedClip
from qaclims_ray.model.losses import area, background_contrast, foreground_contrast
from qaclims_ray.model.new_clip import new_clip
from qaclims_ray.model.regions import Pairs, region_views, select_pairs
from qaclims_ray.model.shapes import Cams
from qaclims_ray.model.texts import PairFeatures
from qaclims_ray.train.batches import Batch
from qaclims_ray.train.classifier import classifier_loss
from qaclims_ray.train.optim import ParameterGroup, build_optimizer
from qaclims_ray.train.ritc import ritc_losses
from qaclims_ray.train.step import Loss, Step

NUM_TEXTS = 10
"""Background texts of a pair."""
_SGD = Optimiser(learning_rate=1e-9)
"""So small that what is measured stays the same."""


def random_clip(config: dict[str, Any], device: torch.device) -> MaskPromptedClip:
    """A frozen CLIP with random weights."""
    return new_clip(config).eval().requires_grad_(False).to(device)


def random_batch(num_images: int, num_classes: int, side: int, device: torch.device) -> Batch:
    """Square images, with 2 and 1 classes in turn."""
    rows = torch.arange(num_images)
    images = torch.randn(num_images, 3, side, side, device=device)
    names = [str(row) for row in range(num_images)]
    return Batch(names, images, labels(num_images, num_classes, device), rows, rows)


def random_texts(num_pairs: int, width: int, device: torch.device) -> PairFeatures:
    """Features of a foreground and ten background texts for each pair."""
    foreground = torch.randn(num_pairs, width, device=device)
    background = torch.randn(num_pairs, NUM_TEXTS, width, device=device)
    present = torch.ones(num_pairs, NUM_TEXTS, dtype=torch.bool, device=device)
    normalised = partial(nn.functional.normalize, dim=-1)
    return PairFeatures(normalised(foreground), normalised(background), present)


def at_once(
    clip: MaskPromptedClip, texts: PairFeatures, logits: Cams, batch: Batch
) -> Mapping[str, Tensor]:
    """Our RITC loss: one CLIP forward over both views of all pairs."""
    return ritc_losses(logits, batch.images, batch.targets, texts, clip)._asdict()


def one_by_one(
    clip: MaskPromptedClip, texts: PairFeatures, logits: Cams, batch: Batch
) -> Mapping[str, Tensor]:
    """The published RITC loss: pair after pair, CLIP asked twice for each."""
    cams = logits.float().sigmoid()
    frc = brc = cams.new_zeros(())
    for number, (image, label) in enumerate(zip(*select_pairs(batch.targets), strict=True)):
        pair = Pairs(image[None], label[None])
        views = region_views(cams, batch.images, pair, clip.image_size, 0.1)
        inside = clip.encode_regions(views.foreground, views.foreground_mask)
        outside = clip.encode_regions(views.background, views.background_mask)
        own = PairFeatures(*(part[number : number + 1] for part in texts))
        frc = frc + foreground_contrast(inside, *own, 0.7).sum()
        brc = brc + background_contrast(outside, *own, 0.7).sum()
    return {"total": 10 * frc + 8 * brc + 0.2 * area(cams)}


def _classify(logits: Cams, batch: Batch) -> Mapping[str, Tensor]:
    return {"total": classifier_loss(logits, batch.targets)}


def new_step(
    net: nn.Module,
    loss: Loss,
    *,
    precision: Literal["float32", "bfloat16"] = "float32",
    freeze_batch_norm: bool = False,
) -> Step:
    """Trains a copy of the network, channels last on GPUs as `train.loop` has it."""
    own = copy.deepcopy(net)
    if next(own.parameters()).is_cuda:
        own = own.to(memory_format=torch.channels_last)
    fit = Fit(optimiser=_SGD, precision=precision, freeze_batch_norm=freeze_batch_norm)
    optimizer = build_optimizer([ParameterGroup(own.parameters())], fit.optimiser)
    return Step(own, loss, optimizer, fit, 1000)


def ritc_ways(device: torch.device, sizes: Sizes) -> Ways:
    """Both ways, in float32 as the configs say; on GPUs also in the bfloat16 that they may say."""
    net = build_cam_net(sizes.backbone, sizes.num_classes).to(device)
    clip = random_clip(clip_config(sizes), device)
    batch = random_batch(sizes.ritc_images, sizes.num_classes, sizes.crop, device)
    num_pairs = int(batch.targets.sum())
    texts = random_texts(num_pairs, clip.config["embed_dim"], device)

    def way(kind: Kind, name: str, loss: Any, precision: Literal["float32", "bfloat16"]) -> Ways:
        step = new_step(net, partial(loss, clip, texts), precision=precision)
        text = f"{sizes.ritc_images} images, {num_pairs} pairs"
        run = partial(step, batch)
        return {Way(kind, name, precision, text, sizes.ritc_images): run}

    ours = partial(way, name="CLIP once for all pairs", loss=at_once)
    published = way("published", "CLIP twice a pair", one_by_one, "float32")
    if device.type == "cpu":
        return {**ours("ours", precision="float32"), **published}
    faster = ours("option", precision="bfloat16")
    return {**ours("ours", precision="float32"), **published, **faster}


def classifier_ways(device: torch.device, sizes: Sizes) -> Ways:
    """The classifier, which is trained alike in both."""
    net = build_cam_net(sizes.backbone, sizes.num_classes).to(device)
    batch = random_batch(sizes.classifier_images, sizes.num_classes, sizes.crop, device)
    return same_in_both(net, _classify, batch, freeze_batch_norm=True)


def label_map_ways(
    net: nn.Module, loss: Loss, num_images: int, sizes: Sizes, device: torch.device
) -> Ways:
    """A training from label maps, which is alike in both."""
    maps = random_seeds(num_images, (sizes.crop, sizes.crop), sizes.num_classes)
    batch = random_batch(num_images, sizes.num_classes, sizes.crop, device)
    return same_in_both(net.to(device), loss, batch._replace(targets=maps.to(device)))


def same_in_both(
    net: nn.Module, loss: Loss, batch: Batch, *, freeze_batch_norm: bool = False
) -> Ways:
    """A training that is alike in both; on GPUs also in bfloat16."""
    count, side = len(batch.names), batch.images.shape[2]

    def way(kind: Kind, precision: Literal["float32", "bfloat16"]) -> Ways:
        step = new_step(net, loss, precision=precision, freeze_batch_norm=freeze_batch_norm)
        shape = f"{count} images of {side} x {side}"
        return {Way(kind, "the same in both", precision, shape, count): partial(step, batch)}

    ways = way("both", "float32")
    return {**ways, **way("option", "bfloat16")} if batch.images.is_cuda else ways
