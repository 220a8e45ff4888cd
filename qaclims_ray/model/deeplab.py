"""DeepLabV2 with ResNet-101, the final network that papers on weak supervision compare with.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs" (TPAMI 2018); published PyTorch code
`kazuto1011/deeplab-pytorch`, of which CLIMS has a copy.
"""

import re
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.model.checkpoints import State, load_backbone, read_state
from qaclims_ray.model.residual import Bottleneck, bottleneck_resnet
from qaclims_ray.model.resnet import Backbone
from qaclims_ray.model.shapes import Images
from qaclims_ray.model.weights import CONFIG, find_weights, load_but_head
from qaclims_ray.storage.records import read_record
from qaclims_ray.types import IMAGENET_MEAN, IMAGENET_STD

DEEPLABV2 = "deeplabv2_resnet101"
"""Its name in configs."""
RATES = (6, 12, 18, 24)
"""Dilation of each branch of the head, in cells."""
DEPTHS = (3, 4, 23, 3)
"""Blocks per layer of ResNet-101."""
IMAGENET = "ResNet101_Weights.IMAGENET1K_V1"
"""Torchvision's weights that `imagenet` stands for."""
CAFFE_MEAN = (122.675, 116.669, 104.008)
"""Mean colour (RGB, 0 to 255) that the published code subtracts."""

Logits = Float[Tensor, "B K h w"]


class DeepLabV2(nn.Module, PyTorchModelHubMixin):
    """A ResNet at stride 8 and a head whose four dilated convolutions are summed.

    Args:
        num_labels: classes and background.
        depths: blocks per layer.
        caffe: with the stride of `layer2` in its first 1x1 convolution, as in the weights of the
            published code. Torchvision's weights have it in the 3x3 convolution.
    """

    def __init__(
        self, num_labels: int, *, depths: Sequence[int] = DEPTHS, caffe: bool = False
    ) -> None:
        super().__init__()
        self.encoder = _encoder(depths, caffe=caffe)
        num_features = self.encoder.num_features
        self.aspp = nn.ModuleList(
            nn.Conv2d(num_features, num_labels, kernel_size=3, padding=rate, dilation=rate)
            for rate in RATES
        )
        for branch in self.aspp.children():
            assert isinstance(branch, nn.Conv2d)
            assert branch.bias is not None
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, images: Images) -> Logits:
        """Logits at stride 8 of images of any size: 321 pixels give 41 cells."""
        features = self.encoder(images)
        return torch.stack([branch(features) for branch in self.aspp]).sum(dim=0)


def deeplabv2_resnet101(
    num_labels: int, *, weights: str | None, depths: Sequence[int] = DEPTHS
) -> DeepLabV2:
    """Build DeepLabV2 with ResNet-101.

    Args:
        num_labels: classes and background.
        weights: None (random); `imagenet` or `pretrained`, the same; another torchvision id; or a
            file: of ResNet-101 in torchvision's names, or of the published code
            (`deeplabv1_resnet101-imagenet.pth`, a trained DeepLabV2); or a folder or Hub id of a
            saved `DeepLabV2`. The head is loaded if it is for as many labels.
        depths: blocks per layer.

    Raises:
        ValueError: no such file or id, or weights of another network.
    """
    if weights is None:
        return DeepLabV2(num_labels, depths=depths)
    if weights in ("imagenet", "pretrained") or "_Weights." in weights:
        net = DeepLabV2(num_labels, depths=depths)
        load_backbone(net.encoder, weights if "_Weights." in weights else IMAGENET)
        return net
    path = find_weights(weights, legal=["imagenet", "pretrained"])
    state, config = read_state(path), path.with_name(CONFIG)
    caffe = any(re.match(r"(base\.)?layer1\.conv1\.conv\.", name) for name in state)
    if caffe:
        state = from_published_deeplab(state)
    elif any(name.startswith("encoder.") for name in state):
        caffe = bool((read_record(str(config), dict[str, object]) or {}).get("caffe"))
    else:
        state = {f"encoder.{n}": v for n, v in state.items() if not n.startswith("fc.")}
    net = DeepLabV2(num_labels, depths=depths, caffe=caffe)
    load_but_head(net, state, "aspp.", weights)
    return net


def multiscale_logits(
    net: Callable[[Images], Logits], images: Images, scales: Sequence[float] = (0.5, 0.75)
) -> list[Logits]:
    """Logits of the images, of smaller copies, and last their maximum at the size of the first.

    DeepLabV2 trains on the sum of the losses of all of them, each at its own size, and predicts
    from the last (published `libs/models/msc.py`).
    """
    height, width = images.shape[2:]
    logits = [net(images)]
    for scale in scales:
        size = (max(1, int(height * scale)), max(1, int(width * scale)))
        logits.append(net(F.interpolate(images, size, mode="bilinear", align_corners=False)))
    size = logits[0].shape[2:]
    resized = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in logits[1:]]
    return [*logits, torch.stack([logits[0], *resized]).amax(dim=0)]


def from_published_deeplab(state: State) -> dict[str, Tensor]:
    """Weights of the published code in the names of `DeepLabV2(…, caffe=True)`.

    Its images are BGR, 0 to 255, without their mean; ours are RGB, normalised by ImageNet's mean
    and deviation. The first convolution and its batch norm are changed so that both give the same
    features, but for the outermost pixels: padding is the mean colour, and the two means differ by
    one grey level.
    """
    names = {name: _own_name(name.removeprefix("base.")) for name in state}
    own = {ours: state[theirs] for theirs, ours in names.items() if ours is not None}
    weight = own["encoder.conv1.weight"].flip(1)
    mean, std, theirs = (weight.new_tensor(x) for x in (IMAGENET_MEAN, IMAGENET_STD, CAFFE_MEAN))
    offset = (weight * (255 * mean - theirs)[:, None, None]).sum(dim=(1, 2, 3))
    own["encoder.conv1.weight"] = weight * (255 * std)[:, None, None]
    own["encoder.bn1.running_mean"] = own["encoder.bn1.running_mean"] - offset
    return own


_UNITS = {
    "reduce.conv": "conv1",
    "reduce.bn": "bn1",
    "conv3x3.conv": "conv2",
    "conv3x3.bn": "bn2",
    "increase.conv": "conv3",
    "increase.bn": "bn3",
    "shortcut.conv": "downsample.0",
    "shortcut.bn": "downsample.1",
}


def _own_name(name: str) -> str | None:
    """`layer2.block1.reduce.conv.weight` is our `encoder.layer1.0.conv1.weight`; None: left out."""
    if name.startswith("layer1.conv1."):
        _, _, unit, leaf = name.split(".")
        return f"encoder.{unit}1.{leaf}"
    if name.startswith("aspp."):
        return name.replace("aspp.c", "aspp.")
    place = re.fullmatch(r"layer(\d)\.block(\d+)\.(\w+\.\w+)\.(\w+)", name)
    if place is None:
        return None
    layer, block, unit, leaf = place.groups()
    return f"encoder.layer{int(layer) - 1}.{int(block) - 1}.{_UNITS[unit]}.{leaf}"


def _encoder(depths: Sequence[int], *, caffe: bool) -> Backbone:
    """A ResNet of bottlenecks at stride 8; `layer3` is dilated by 2 and `layer4` by 4 throughout.

    The pool rounds up (published `_Stem`). Torchvision's own would dilate the first block of each
    layer by half as much.
    """
    conv1, layers = bottleneck_resnet(depths, strides=(1, 2, 1, 1))
    for layer, dilation in zip(layers[2:], (2, 4), strict=True):
        for module in layer.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)
    if caffe:
        first = layers[1][0]
        assert isinstance(first, Bottleneck)
        first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    encoder = Backbone(conv1, layers, num_features=2048, stride=8)
    encoder.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True)
    return encoder
