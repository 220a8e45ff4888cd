"""Backbones with the strides that class activation maps want."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.model.checkpoints import load_backbone
from qaclims_ray.model.residual import BasicBlock, bottleneck_resnet, shortcut
from qaclims_ray.model.shapes import Images


class CamBackbone(nn.Module):
    """What a CAM network needs of its backbone: one map of features, of images of any size."""

    num_features: int
    """Channels of the last feature map."""
    stride: int
    """Pixels per cell of the last feature map."""

    @abstractmethod
    def parts(self) -> list[nn.Module]:
        """Return the modules that follow one upon the other."""

    @abstractmethod
    def load(self, weights: str | Path) -> None:
        """Load weights by file or tag; see `cam_net.build_cam_net`."""


class Backbone(CamBackbone):
    """A residual network in torchvision's parameter names, without pooling and classifier.

    `conv1`, `bn1`, `relu`, `maxpool` form the stem; `layer1` to `layer4` follow.
    """

    def __init__(
        self, conv1: nn.Conv2d, layers: Sequence[nn.Module], *, num_features: int, stride: int
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.stride = stride
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(conv1.out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = layers

    def stages(self, images: Images) -> list[Float[Tensor, "B F h w"]]:
        """The five feature maps: stem, then `layer1` to `layer4`; channels and strides differ."""
        maps = [self.maxpool(self.relu(self.bn1(self.conv1(images))))]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps

    def forward(self, images: Images) -> Float[Tensor, "B F h w"]:
        """The last feature map, `num_features` channels at `stride`."""
        return self.stages(images)[-1]

    def parts(self) -> list[nn.Module]:
        """What follows one upon the other after the stem."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def load(self, weights: str | Path) -> None:
        """Load ImageNet weights, see `checkpoints.load_backbone`."""
        load_backbone(self, weights)


def resnet50() -> Backbone:
    """ResNet-50 at output stride 16: `layer4` keeps its resolution and is not dilated.

    The stem's convolution and the scale and shift of its batch norm are frozen; that batch norm's
    running statistics still move in train mode (published `net/resnet50_clims.py`).
    """
    parts = bottleneck_resnet((3, 4, 6, 3), strides=(1, 2, 2, 1))
    result = Backbone(*parts, num_features=2048, stride=16)
    result.conv1.requires_grad_(False)
    result.bn1.requires_grad_(False)
    return result


def small_resnet() -> Backbone:
    """Four basic blocks at output stride 8, 128 features: for the demo's 96-pixel images."""
    conv1 = nn.Conv2d(3, 24, kernel_size=5, stride=2, padding=2, bias=False)
    layers = (_block(24, 32), _block(32, 64, stride=2), _block(64, 96), _block(96, 128))
    return Backbone(conv1, layers, num_features=128, stride=8)


def _block(num_in: int, num_out: int, stride: int = 1) -> BasicBlock:
    return BasicBlock(num_in, num_out, stride, shortcut(num_in, num_out, stride))


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet50": resnet50,
    "small_resnet": small_resnet,
}
"""Backbones by the name that a config gives."""


def backbone(name: str) -> Backbone:
    """The backbone of that name, randomly initialised.

    Raises:
        ValueError: no such backbone.
    """
    if name not in BACKBONES:
        raise ValueError(
            f"no backbone is called {name!r}; the names are {sorted(BACKBONES)} and timm:<name>"
        )
    return BACKBONES[name]()


def freeze_batch_norm(net: nn.Module) -> None:
    """Make the batch norms of `net` use and keep their running statistics.

    Scale and shift still train. `net.train()` undoes it, so call it after each `net.train()`.
    The published classifier and boundary network train like this.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.eval()


def freeze_unused(backbone: CamBackbone) -> None:
    """Freeze what the features do not depend on: workers wait for each other's gradients."""
    side = 4 * backbone.stride
    backbone.eval()(torch.zeros(1, 3, side, side)).sum().backward()
    for parameter in backbone.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    backbone.zero_grad()
    backbone.train()
