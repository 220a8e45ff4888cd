"""Backbones of timm: its convolutional networks at stride 16, and plain vision transformers."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.model.checkpoints import State, load_exactly, read_state
from qaclims_ray.model.resnet import CamBackbone, freeze_unused
from qaclims_ray.model.shapes import Images
from qaclims_ray.model.vit_backbone import is_vit, vit_backbone

STRIDE = 16
_create: Callable[..., Any] = timm.create_model
_UNSUPPORTED = (TypeError, AssertionError, NotImplementedError, ValueError)
"""What timm raises for networks that cannot change their output stride."""


class TimmBackbone(CamBackbone):
    """The layers of a timm network up to its last features at stride 16."""

    stride = STRIDE

    def __init__(self, net: Any) -> None:
        """Wrap what `timm.create_model(…, features_only=True)` gives."""
        super().__init__()
        self.net = net
        self.num_features = net.feature_info.channels()[-1]

    def forward(self, images: Images) -> Float[Tensor, "B F h w"]:
        """The last feature map, `num_features` channels at `stride`."""
        return self.net(images)[-1]

    def parts(self) -> list[nn.Module]:
        """What follows one upon the other."""
        return list(self.net.children())

    def load(self, weights: str | Path) -> None:
        """Load a file in timm's names; layers after the last features are left out.

        Raises:
            ValueError: no such file, or weights of another network.
        """
        state = read_state(weights)
        found = {name: _find(name, state) for name in self.net.state_dict()}
        kept = {name: value for name, value in found.items() if value is not None}
        load_exactly(self.net, kept, str(weights))


def timm_backbone(name: str, *, pretrained: bool = False) -> CamBackbone:
    """A plain vision transformer of timm at the stride of its patches, or a CNN at stride 16.

    CNNs are dilated where they can be, else they lose their last stages.

    Args:
        name: of timm, such as `resnet50`, `convnext_tiny.fb_in1k`, `vit_small_patch14_dinov2`.
        pretrained: with timm's weights, which are downloaded; else random.

    Raises:
        ValueError: unknown name, no features at stride 16, or weights that can't be had.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(f"timm has no model {name!r}; near: {close}")
    try:
        build = vit_backbone if is_vit(name) else _convolutional
        net = build(name, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"timm:{name}: {type(error).__name__}: {error}") from error
    freeze_unused(net)
    return net


def _convolutional(name: str, *, pretrained: bool) -> TimmBackbone:
    options = _options(name)
    return TimmBackbone(_create(name, pretrained=pretrained, features_only=True, **options))


def _options(name: str) -> dict[str, Any]:
    """How to create the network so that its last features are at stride 16."""
    for options in ({"output_stride": STRIDE}, {}):
        try:
            with torch.device("meta"):
                net: Any = _create(name, features_only=True, **options)
        except _UNSUPPORTED:
            continue
        reductions: list[int] = net.feature_info.reduction()
        fitting = [i for i, reduction in enumerate(reductions) if reduction == STRIDE]
        if fitting and _takes_any_size(net, fitting[-1]):
            return {**options, "out_indices": [net.feature_info.out_indices[fitting[-1]]]}
    raise ValueError(
        f"timm:{name} has no feature maps at stride {STRIDE} of images of any size: choose a "
        "convolutional network, such as timm:resnet101 or timm:convnext_tiny, or a plain vision "
        "transformer, such as timm:vit_small_patch14_dinov2.lvd142m"
    )


def _takes_any_size(net: nn.Module, index: int) -> bool:
    """Whether it is convolutional: windowed transformers want one size, or channels last."""
    height, width = 4, 6
    try:
        found = net.eval()(torch.empty(1, 3, STRIDE * height, STRIDE * width, device="meta"))[index]
    except _UNSUPPORTED:
        return False
    return found.shape[2:] == (height, width)


def _find(name: str, state: State) -> Tensor | None:
    """A tensor by the name that it has in timm's feature extractors: `stages_0` for `stages.0`."""
    return state.get(name, state.get(re.sub(r"^(\w+)_(\d+)\.", r"\1.\2.", name)))
