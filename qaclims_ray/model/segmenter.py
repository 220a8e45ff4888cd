"""The final segmentation network: images of any size to logits of their size.

Three libraries have them, and each keeps its own layers, names and file format:
`smp:<architecture>/<encoder>` of segmentation_models_pytorch, semantic segmentation networks of
transformers, `deeplabv2_resnet101` for comparison with papers, and `fcn` on a CAM backbone.

A library is imported where one of its networks is built: each costs a process seconds.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.model.deeplab import DEEPLABV2, DeepLabV2, deeplabv2_resnet101
from qaclims_ray.model.fcn import FCN, Fcn, fcn
from qaclims_ray.model.shapes import Images

SMP = "smp:"
"""Prefix of the names of segmentation_models_pytorch's networks."""
Source = str | Mapping[str, Any]
"""Name, Hub id or folder of a network, or a configuration of transformers with its `model_type`."""
_TRANSFORMERS_MULTIPLE = 32
"""SegFormer's coarsest attention needs a cell of 32 pixels."""
_REFUSALS = (AssertionError, RuntimeError, ValueError)
"""Errors of networks for images that are too small for them or not of their size."""


class Segmenter(nn.Module):
    """A segmentation network of any of the three libraries.

    `net` is the library's own module. Its images are padded below and on the right by the mean
    colour to sides that it can take, and its logits are enlarged bilinearly and cropped.

    Raises:
        ValueError: `net` takes images of one size only.
    """

    def __init__(self, net: nn.Module, num_labels: int) -> None:
        super().__init__()
        self.net = net
        self.num_labels = num_labels
        self.multiple = _multiple(net)
        """Sides in pixels that `net` takes are multiples of it …"""
        self.minimum = _minimum(net, self.multiple)
        """… and no shorter than this."""

    @property
    def encoder(self) -> nn.Module:
        """The pretrained layers; the head is all others."""
        if not _is_of_transformers(self.net):
            return self.net.get_submodule("encoder")
        from qaclims_ray.model.transformers_net import encoder_of

        return self.net.get_submodule(encoder_of(self.net))

    def forward(self, images: Images) -> Float[Tensor, "B K H W"]:
        """Logits of background and classes for each pixel; sides of 1 pixel are enough."""
        height, width = images.shape[2:]
        multiple = self.multiple
        # No -(-side // multiple): ONNX rounds quotients of whole numbers to 0, Python down.
        rounded = ((side + multiple - 1) // multiple * multiple for side in (height, width))
        size = [max(side, self.minimum) for side in rounded]
        output = self.net(F.pad(images, (0, size[1] - width, 0, size[0] - height)))
        logits = output if isinstance(output, Tensor) else output.logits
        if list(logits.shape[2:]) != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits[:, :, :height, :width]


def build_segmenter(name: Source, num_labels: int, *, weights: str | None) -> Segmenter:
    """Build a segmentation network in train mode.

    Parameters that the logits do not depend on are frozen: workers would wait for their gradients.
    Networks that normalise pooled features (DeepLabV3, PSPNet, PAN) train on two images and more.

    Args:
        name: `smp:<architecture>/<encoder>`, `deeplabv2_resnet101`, `fcn:<backbone>`, or for
            transformers a Hub id, a folder or a configuration with its `model_type`.
        num_labels: classes and background.
        weights: None (random), `pretrained`, a file, a folder or a Hub id; see `smp_net`,
            `deeplabv2_resnet101`, `fcn`, `transformers_net`. See `pixel_supervision` for what they
            were trained with.

    Raises:
        ValueError: no such network or weights, or one that takes images of one size only.
    """
    if isinstance(name, str) and name.startswith(SMP):
        from qaclims_ray.model.smp_net import smp_net

        net = smp_net(name, num_labels, weights=weights)
    elif isinstance(name, str) and name.startswith(FCN):
        net = fcn(name, num_labels, weights=weights)
    elif name == DEEPLABV2:
        net = deeplabv2_resnet101(num_labels, weights=weights)
    else:
        from qaclims_ray.model.transformers_net import transformers_net

        net = transformers_net(name, num_labels, weights=weights)
    segmenter = Segmenter(net, num_labels).eval()
    segmenter(torch.zeros(1, 3, 1, 1)).sum().backward()
    for parameter in segmenter.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    segmenter.zero_grad()
    return segmenter.train()


def _is_of_transformers(net: nn.Module) -> bool:
    return hasattr(net, "base_model_prefix")  # of each `PreTrainedModel`, which is not imported


def _multiple(net: nn.Module) -> int:
    if isinstance(net, (DeepLabV2, Fcn)):
        return 1
    if _is_of_transformers(net):
        return _TRANSFORMERS_MULTIPLE
    encoder: Any = net.encoder
    return encoder.output_stride


@torch.no_grad()
def _minimum(net: nn.Module, multiple: int) -> int:
    """The shortest side, found by trying: pools within a head halve the features up to thrice."""
    was_training, weight = net.training, next(net.parameters())
    error = None
    for factor in (1, 2, 4, 8):
        side = factor * multiple
        try:
            net.eval()(weight.new_zeros(1, 3, side, 3 * side))
        except _REFUSALS as refusal:
            error = refusal
        else:
            net.train(was_training)
            return side
    raise ValueError(
        f"{type(net).__name__} does not take images of any size: choose another encoder, such as "
        f"in smp:DeepLabV3Plus/resnet50: {error}"
    )
