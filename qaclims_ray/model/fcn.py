"""A fully convolutional network: one of our backbones and a 1x1 convolution.

Source: Long et al., "Fully Convolutional Networks for Semantic Segmentation" (CVPR 2015), without
its skips. It can start from the weights that the CAM network starts from.
"""

from pathlib import Path

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from qaclims_ray.model.resnet import BACKBONES, backbone
from qaclims_ray.model.shapes import Images

FCN = "fcn:"
"""Prefix of its name in configs; a name of `resnet.BACKBONES` follows."""


class Fcn(nn.Module, PyTorchModelHubMixin):
    """A backbone whose every cell is classified.

    Args:
        num_labels: classes and background.
        backbone_name: a name of `resnet.BACKBONES`.
    """

    def __init__(self, num_labels: int, *, backbone_name: str) -> None:
        super().__init__()
        self.encoder = backbone(backbone_name)
        self.head = nn.Conv2d(self.encoder.num_features, num_labels, kernel_size=1)

    def forward(self, images: Images) -> Float[Tensor, "B K h w"]:
        """Return logits at the backbone's stride."""
        return self.head(self.encoder(images))


def fcn(name: str, num_labels: int, *, weights: str | Path | None) -> Fcn:
    """Build the network.

    Args:
        name: `fcn:` and a name of `resnet.BACKBONES`.
        num_labels: classes and background.
        weights: of the backbone: None (random); `pretrained` or `imagenet`, the same; or what
            `build_cam_net` takes.

    Raises:
        ValueError: no such backbone, or weights that are not there or do not fit.
    """
    backbone_name = name.removeprefix(FCN)
    if backbone_name not in BACKBONES:
        legal = ", ".join(f"{FCN}{one}" for one in sorted(BACKBONES))
        raise ValueError(f"no segmenter is called {name!r}; legal are {legal}")
    net = Fcn(num_labels, backbone_name=backbone_name)
    if weights is not None:
        net.encoder.load("imagenet" if weights == "pretrained" else weights)
    return net
