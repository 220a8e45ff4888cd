"""Training of the final network: loss, groups of parameters, fixed norms, averaged weights."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from qaclims_ray.model import resnet
from qaclims_ray.model.segmenter import Segmenter
from qaclims_ray.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from timm.utils.model_ema import ModelEmaV3

Balance = Literal["halves", "none"]


class SegmentationLoss(NamedTuple):
    """Cross entropies of a batch, in nats."""

    total: Float[Tensor, ""]
    foreground: Float[Tensor, ""]
    """Mean over the foreground pixels; 0 where there are none."""
    background: Float[Tensor, ""]
    """Mean over the background pixels; 0 where there are none."""


def segmentation_loss(
    logits: Float[Tensor, "B K h w"], label_maps: Integer[Tensor, "B H W"], *, balance: Balance
) -> SegmentationLoss:
    """Cross entropy between logits and label maps, without pixels that are `IGNORE`.

    `halves` is the mean of the foreground's mean and the background's mean: without it, networks
    that learn from pseudo masks collapse to the background (published `CLIMS` deeplabv2; there an
    absent half makes the loss nan, here it counts 0). `none` is the mean over all pixels.

    Coarser logits are enlarged bilinearly to the label maps: reduced label maps lose thin and small
    objects. The published DeepLabV2 reduces them; hand over reduced ones for the same.

    Batches that are all `IGNORE` give 0 with gradients of 0. Means are over the batch given: data-
    parallel workers average their own means, which weighs pixels of sparsely labelled images more.

    Args:
        logits: of background and classes.
        label_maps: 0 to K - 1, or `IGNORE`.
        balance: of foreground and background.
    """
    size = label_maps.shape[1:]
    if logits.shape[2:] != size:
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    losses = F.cross_entropy(
        logits.float(), label_maps.long(), ignore_index=IGNORE, reduction="none"
    )
    known, is_background = label_maps != IGNORE, label_maps == BACKGROUND
    foreground = _mean(losses, known & ~is_background)
    background = _mean(losses, is_background)
    total = (foreground + background) / 2 if balance == "halves" else _mean(losses, known)
    return SegmentationLoss(total, foreground, background)


def _mean(losses: Float[Tensor, "B H W"], counted: Bool[Tensor, "B H W"]) -> Float[Tensor, ""]:
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def parameter_groups(
    net: Segmenter,
    *,
    learning_rate: float,
    head_lr_multiplier: float,
    bias_lr_multiplier: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Group the parameters that train by learning rate and weight decay, for a torch optimiser.

    DeepLab has 10 for the head and 2 for biases, so 20 for biases of the head.

    Args:
        net: the network; its frozen parameters are left out.
        learning_rate: of the encoder's weights.
        head_lr_multiplier: of all that is not the encoder.
        bias_lr_multiplier: of biases, on top.
        weight_decay: of weights; biases and the scales of norms have none.
    """
    encoder = {id(parameter) for parameter in net.encoder.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            rate = learning_rate * (1 if id(parameter) in encoder else head_lr_multiplier)
            rate *= bias_lr_multiplier if name.endswith("bias") else 1
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def freeze_batch_norm(net: nn.Module) -> None:
    """Make the batch norms of `net` keep their running statistics, scales and shifts.

    `net.train()` undoes half of it, so call it after each `net.train()` (published DeepLabV2).
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.requires_grad_(False)
    resnet.freeze_batch_norm(net)


def averaged_weights(net: nn.Module, decay: float) -> "ModelEmaV3":
    """An exponential moving average of the weights and buffers of `net`, as a network `.module`.

    Call `update(net, step)` after each optimiser step, counted from 1. Early averages are short:
    the decay grows as 1 - step^(-2/3) up to `decay`. The state is the state dict alone; whoever
    loads it and goes on with the same step has the same average as without the break.

    Args:
        net: without the wrapper of data-parallel training, on its device.
        decay: per step, in [0, 1).
    """
    from timm.utils.model_ema import ModelEmaV3  # timm, seconds that most trainings need not wait

    return ModelEmaV3(net, decay=decay, use_warmup=True)
