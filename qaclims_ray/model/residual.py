"""Residual blocks and the layers of a ResNet, in torchvision's parameter names.

Source: He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016). A block strides in
its 3x3 convolution, as torchvision's does; `tests/model/test_residual.py` compares both.
Torchvision's own would cost each process two seconds: its package imports the compiler of torch.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

Features = Float[Tensor, "B _ _ _"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, the identity where there is no `downsample`."""

    def __init__(
        self, num_in: int, num_out: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = _conv(num_in, num_out, 3, stride)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(num_out, num_out, 3)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.downsample = downsample

    def forward(self, features: Features) -> Features:
        """Features of `num_out` channels at the stride."""
        shortcut = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        features = self.bn2(self.conv2(features))
        features += shortcut
        return self.relu(features)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, the last of four times its channels."""

    def __init__(
        self, num_in: int, width: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = _conv(num_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, features: Features) -> Features:
        """Features of `4 * width` channels at the stride."""
        shortcut = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        features = self.relu(self.bn2(self.conv2(features)))
        features = self.bn3(self.conv3(features))
        features += shortcut
        return self.relu(features)


class ResNetParts(NamedTuple):
    """The modules of a ResNet with weights, without pooling and classifier."""

    conv1: nn.Conv2d
    layers: list[nn.Sequential]


def bottleneck_resnet(depths: Sequence[int], strides: Sequence[int] = (1, 2, 2, 2)) -> ResNetParts:
    """Build the stem's convolution and the four layers of bottlenecks, randomly initialised.

    Args:
        depths: blocks of each layer; ResNet-50 has 3, 4, 6, 3.
        strides: of the first block of each layer.
    """
    conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
    layers: list[nn.Sequential] = []
    num_in = 64
    for width, depth, stride in zip((64, 128, 256, 512), depths, strides, strict=True):
        first = Bottleneck(num_in, width, stride, shortcut(num_in, 4 * width, stride))
        num_in = 4 * width
        layers.append(nn.Sequential(first, *(Bottleneck(num_in, width) for _ in range(depth - 1))))
    for module in (conv1, *(part for layer in layers for part in layer.modules())):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return ResNetParts(conv1, layers)


def shortcut(num_in: int, num_out: int, stride: int) -> nn.Sequential:
    """Build the projection of a block's input onto the size of its output."""
    return nn.Sequential(_conv(num_in, num_out, 1, stride), nn.BatchNorm2d(num_out))


def _conv(num_in: int, num_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, size, stride, padding=size // 2, bias=False)
